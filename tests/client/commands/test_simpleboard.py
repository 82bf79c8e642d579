"""``simpleboard``: the experiments of a folder in the browser, by this program or by a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from board_server import served, settings, url  # noqa: F401 - fixtures
from board_visits import SECONDS, Visit
from command_runner import run
from older_databases import OlderDatabase
from running_server import Served, environment
from track.commands.simpleboard import COMMAND
from track.persistence import get_protocol
from track.tracker import Tracker
from track_protocol.errors import ItemNotFound, UsageError
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore


@contextmanager
def simpleboard(*words: str, **env: str) -> Iterator[Visit]:
    command = [sys.executable, "-m", "track.cli", "simpleboard", *words, "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(**env), text=True) as process:
        assert process.stdout is not None
        try:
            address, _, code = process.stdout.readline().strip().partition("#login=")
            assert code, "no address was printed"
            yield Visit(address)
            process.terminate()
            assert process.wait(SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()


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


def test_the_board_shows_the_store_that_was_written_to_last(folder: Path) -> None:
    with simpleboard("-e", str(folder)) as visit:
        assert visit.log_in().status == 200
        (trial,) = visit.call("fetch_trials", query={}).json
        assert (trial["name"], trial["project_id"]) == ("first", "mnist")


def test_the_board_shows_a_copy_of_what_the_older_system_wrote(tmp_path: Path) -> None:
    older = OlderDatabase(tmp_path / "old.db")
    older.add("older", records=[("loss", 0, 2.0, 1.5)])
    content = older.path.read_bytes()
    with simpleboard("-e", str(tmp_path)) as visit:
        assert visit.log_in().status == 200
        (trial,) = visit.call("fetch_trials", query={}).json
        assert (trial["name"], trial["metrics"]["loss"]["last"]) == ("older", 2.0)
    assert older.path.read_bytes() == content


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
