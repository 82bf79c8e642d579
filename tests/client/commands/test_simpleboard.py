"""``simpleboard``: the experiments of a folder in the browser, by this program or by a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from board_process import board_of
from board_server import served, settings, url  # noqa: F401 - fixtures
from board_visits import Visit
from command_runner import run
from older_databases import OlderDatabase
from running_server import Served
from track.commands.simpleboard import COMMAND
from track.persistence import get_protocol
from track.tracker import Tracker
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from waiting import wait_until


@contextmanager
def simpleboard(*words: str, **env: str) -> Iterator[Visit]:
    with board_of(*words, named="simpleboard", **env) as board:
        yield Visit(board.url)
        assert board.end() == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an experiment of ours and one of the older system."""
    experiments = tmp_path / "experiments"
    with Tracker(experiments) as tracker:
        tracker.set_experiment("mnist")
        with tracker.run("first", {"lr": 0.1}):
            tracker.record("loss", 1.0, 0)
    OlderDatabase(experiments / "old.db").add("older", records=[("loss", 0, 2.0, 1.5)])
    return experiments


def test_its_own_user_reads_without_a_login_as_the_older_front_end_does(folder: Path) -> None:
    with simpleboard("-e", str(folder)) as visit:
        found = visit.get("/api/databases").json
        assert sorted(found["available_databases"]) == ["mnist.db", "old.db"]
        for name, run in (("mnist.db", "first"), ("old.db", "older")):
            assert visit.post("/api/databases/select", {"db_name": name}).status == 200
            assert [each["name"] for each in visit.get("/api/runs").json] == [run]


def names_of(visit: Visit, database: str | None = None) -> list[str]:
    """The runs on the board's page of a database, or of the one that it shows by itself."""
    visit.extra = {} if database is None else {"X-Track-Database": quote(database)}
    return [trial["name"] for trial in visit.call("fetch_trials", query={}).json]


def test_the_board_shows_the_database_that_was_written_to_last_and_any_that_is_named(folder: Path) -> None:
    os.utime(folder / "old.db", (1, 1))
    with simpleboard("-e", str(folder)) as visit:
        assert visit.log_in().status == 200
        session = visit.get("/api/v1/session").json
        assert (session["database"], session["databases"]) == ("mnist.db", ["mnist.db", "old.db"])
        assert session["store"] == str(folder / "mnist.db")
        assert [names_of(visit), names_of(visit, "old.db"), names_of(visit, "mnist.db")] == [
            ["first"],
            ["older"],
            ["first"],
        ]


def test_each_page_hears_of_what_changes_in_its_own_database(folder: Path) -> None:
    with Tracker(folder) as tracker, simpleboard("-e", str(folder)) as visit:
        tracker.set_experiment("a b ü")
        assert visit.log_in().status == 200
        with visit.listening(X_Track_Database=quote("a b ü.db")) as events:
            with tracker.run("second"):
                tracker.record("loss", 1.0, 0)
            name, _, changed = next(event for event in events if event[0])
            assert name == "changed"
            assert changed["trials"]
        assert names_of(visit, "a b ü.db") == ["second"]
        assert names_of(visit, "mnist.db") == ["first"]


def test_a_database_that_is_not_there_is_said_so_and_leads_out_of_no_folder(folder: Path) -> None:
    (folder / "below").mkdir()
    with simpleboard("-e", str(folder / "below")) as visit:
        assert visit.log_in().status == 200
        assert names_of(visit) == []
        for name in ("gone.db", "../mnist.db"):
            visit.extra = {"X-Track-Database": quote(name)}
            assert visit.call("fetch_trials", query={}).status == 404
            session = visit.get("/api/v1/session").json
            assert "there is no database" in session["fault"]
            assert session["databases"] == []


def test_another_file_of_the_same_name_is_read_instead(folder: Path) -> None:
    with simpleboard("-e", str(folder)) as visit:
        assert visit.log_in().status == 200
        assert names_of(visit, "mnist.db") == ["first"]
        for path in folder.glob("mnist.db*"):
            if path.is_file():
                path.unlink()
        with Tracker(folder) as tracker:
            tracker.set_experiment("mnist")
            with tracker.run("other"):
                tracker.record("loss", 1.0, 0)
        assert names_of(visit, "mnist.db") == ["other"]


def test_more_databases_than_may_be_open_at_once_are_all_shown(tmp_path: Path) -> None:
    with Tracker(tmp_path) as tracker:
        for number in range(12):
            tracker.set_experiment(f"e{number}")
            with tracker.run(f"run {number}"):
                tracker.record("loss", 1.0, 0)
    with simpleboard("-e", str(tmp_path)) as visit:
        assert visit.log_in().status == 200
        for number in (*range(12), *range(12)):
            assert names_of(visit, f"e{number}.db") == [f"run {number}"]


def test_what_the_older_system_wrote_is_read_and_never_written_to(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "old.db")
    older.add("older", records=[("loss", 0, 2.0, 1.5)])
    content = older.path.read_bytes()
    with simpleboard("-e", str(tmp_path)) as visit:
        assert visit.log_in().status == 200
        assert visit.get("/api/v1/session").json["role"] == "reader"
        wait_until(lambda: names_of(visit), "the copy is there")
        (trial,) = visit.call("fetch_trials", query={}).json
        assert (trial["name"], trial["metrics"]["loss"]["last"]) == ("older", 2.0)
        assert visit.call("add_trial_tags", trial=trial["id"], tags={"a": 1}).status == 403
        assert older.path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [older.path]
        older.add("younger")
        wait_until(lambda: names_of(visit) == ["older", "younger"], "the copy has what was written since")


def test_an_older_database_that_is_damaged_leaves_the_others(folder: Path) -> None:
    old = folder / "old.db"
    content = bytearray(old.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (folder / "torn.db").write_bytes(content)
    with simpleboard("-e", str(folder)) as visit:
        assert visit.log_in().status == 200
        visit.extra = {"X-Track-Database": "torn.db"}
        answer = visit.call("fetch_trials", query={})
        assert answer.status == 503
        assert "torn.db" in answer.json["error"]["message"]
        assert names_of(visit, "mnist.db") == ["first"]


def test_other_addresses_are_encrypted_and_need_a_login(folder: Path, tmp_path: Path) -> None:
    token = UserStore(tmp_path / "home").add("rita", Role.READER)
    with simpleboard("-e", str(folder), "--public", TRACK_HOME=str(tmp_path / "home")) as visit:
        assert visit.url.startswith("https://")
        port = visit.url.rstrip("/").rpartition(":")[2]
        other = Visit(f"https://127.0.0.1:{port}/", source="127.0.0.2")
        assert other.log_in(name="rita", token="wrong").status == 401
        assert other.log_in(name="rita", token=token).json["role"] == "reader"
        assert other.post("/api/runs", {"name": "x"}).status == 403


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound, match="is no folder: name the folder"):
        run(COMMAND, "-e", str(tmp_path / "nothing"))


def test_without_users_no_other_machine_is_let_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACK_HOME", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="track user add"):
        run(COMMAND, "-e", str(folder), "--public", "--no-browser", "--port", "0")


# -- beside a server's board ---------------------------------------------------------------------


def test_a_server_shows_its_projects_as_databases(served: Served, url: str) -> None:  # noqa: F811 - fixtures
    protocol = get_protocol(served.join("ann"))
    tracker = Tracker(protocol)
    tracker.set_experiment("mnist")
    with tracker.run("first"):
        tracker.record("loss", 1.0, 0)
    protocol.close()
    visit = Visit(url)
    assert visit.get("/api/databases").json["available_databases"] == ["mnist.db"]
    assert visit.post("/api/databases/select", {"db_name": "mnist.db"}).status == 200
    (found,) = visit.get("/api/runs").json
    assert found["name"] == "first"
