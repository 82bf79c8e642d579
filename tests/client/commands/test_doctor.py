"""``track doctor`` in good and bad states, with real servers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_servers import fake_server
from orphaned_spools import left_spool
from running_server import Served, serving
from track.commands.doctor import COMMAND
from track.configuration import reset_configuration
from track.spool.folder import Checkpoint, SpoolFolder
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.app import Settings


@pytest.fixture(autouse=True)
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRACK_SPOOL", str(tmp_path / "spools"))
    return tmp_path / "spools"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "home")) as made:
        yield made


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return COMMAND.run(parser.parse_args(words))


@pytest.fixture
def examined(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs it; the exit code and the findings that are not well."""

    def examine(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code = run("--json", *words)
        reported = json.loads(capsys.readouterr().out)
        assert reported["ok"] is (code == 0)
        return code, [finding for finding in reported["checks"] if not finding["ok"]]

    return examine


def test_without_problems_every_check_is_ok(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(served.join("ann")) == 0
    reported = capsys.readouterr().out
    assert reported.endswith("no problems found\n")
    for text in (
        "Python 3",
        "it is reachable",
        "it accepts the login",
        "your role is writer",
    ):
        assert text in reported


def together(*servers: Served) -> str:
    """The URI of several servers with one home."""
    joined = Uri.parse(servers[0].join("ann"))
    more = tuple((each.host, each.port) for each in servers[1:])
    return replace(joined, more_hosts=more).to_text()


def test_each_host_is_checked(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], examined: Any
) -> None:
    with serving(Settings(backend="ephemeral:", home=served.home)) as other:
        uri = together(served, other)
        run(uri)
        reported = capsys.readouterr().out
        for each in (served, other):
            assert f"the server at {each.host}:{each.port}: your role is writer" in reported
        _, (finding,) = examined(uri)
    assert (
        f"{served.port} and the server at {other.host}:{other.port} have different stores" in finding["text"]
    )
    assert "name servers of one store only" in finding["remedy"]


def test_a_host_that_is_unreachable_is_no_problem_while_another_serves(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = replace(served, host="127.0.0.2")
    assert run(together(served, nowhere)) == 0
    assert f"the server at {nowhere.host}:{nowhere.port}: it is unreachable, and another host of the URI" in (
        capsys.readouterr().out
    )


def test_hosts_that_are_all_unreachable_are_problems(served: Served, examined: Any) -> None:
    uri = together(*(replace(served, host=f"127.0.0.{last}") for last in (2, 3)))
    code, findings = examined(uri)
    assert (code, [finding["topic"] for finding in findings]) == (1, ["server", "server"])


def test_a_host_with_another_key_is_a_problem_though_another_serves(
    served: Served, tmp_path: Path, examined: Any
) -> None:
    with serving(Settings(backend="ephemeral:", home=tmp_path / "another")) as other:
        code, (finding,) = examined(together(served, other))
    assert code == 1
    assert f"{other.host}:{other.port}: its key is not the expected one" in finding["text"]


def test_it_may_be_run_again_and_by_others(served: Served) -> None:
    ann, bob = served.join("ann"), served.join("bob")
    assert [run(ann), run(ann), run(bob)] == [0, 0, 0]


def test_no_secret_is_shown(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACK_TOKEN", "trk_hidden")
    monkeypatch.setenv("TRACK_URI", served.uri("ann", "trk_secret"))
    run()
    out, err = capsys.readouterr()
    assert "TRACK_TOKEN is set" in out
    assert "ann:***@" in out
    assert not [word for word in ("trk_hidden", "trk_secret") if word in out + err]


def test_the_checks_change_nothing(served: Served, spools: Path, examined: Any) -> None:
    left_spool(spools, server=served.join("ann"))
    before = {path: path.read_bytes() for path in spools.rglob("*") if path.is_file()}
    examined()
    assert {path: path.read_bytes() for path in spools.rglob("*") if path.is_file()} == before


def test_a_waiting_spool_is_reported_with_the_command_that_sends_it(
    spools: Path, monkeypatch: pytest.MonkeyPatch, examined: Any
) -> None:
    monkeypatch.setenv("TRACK_TOKEN", "trk_secret")
    path = left_spool(spools, checkpoint=Checkpoint(10, "one", "no server answers at localhost:8123"))
    code, (finding,) = examined()
    assert code == 1
    for text in ("20 points", "train.py (pid 4711", "socket://ann@localhost:8123", "no server answers"):
        assert text in finding["text"]
    assert finding["remedy"] == f"track sync {path}"


def test_a_spool_without_a_login_is_reported_with_how_to_get_one(spools: Path, examined: Any) -> None:
    # Fails when `doctor._to` does not look for a login: a plain `track sync` cannot send it.
    path = left_spool(spools)
    _, (finding,) = examined()
    assert finding["remedy"].startswith(f"track sync {path} after 'track login socket://ann@localhost:8123'")


def test_a_spool_in_use_is_ok(spools: Path, examined: Any) -> None:
    holder = SpoolFolder.open(left_spool(spools))
    assert examined() == (0, [])
    holder.close()


def test_a_damaged_spool_is_reported_with_its_dropped_records(spools: Path, examined: Any) -> None:
    path = left_spool(spools)
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[60] ^= 1
    segment.write_bytes(data[:-5])
    _, (finding,) = examined()
    for text in ("damaged places: 1, with 10 log calls lost", "bytes are an incomplete record"):
        assert text in finding["text"]
    assert "intact records are sent" in finding["remedy"]


def test_damaged_spool_metadata_asks_for_the_servers_name(spools: Path, examined: Any) -> None:
    path = left_spool(spools)
    (path / "spool.json").write_text("")
    _, (finding,) = examined()
    assert "spool.json is damaged" in finding["text"]
    assert finding["remedy"].startswith(f"track sync {path} --to URI")


def test_the_rest_of_a_damaged_spool_may_be_deleted(spools: Path, examined: Any) -> None:
    folder = SpoolFolder.open(left_spool(spools))
    folder.quarantine("1-24", b"odd")
    folder.remove()
    _, (finding,) = examined()
    assert f"rm -r {folder.path}" in finding["remedy"]


def test_a_spool_of_another_machine_is_reported_with_a_warning(spools: Path, examined: Any) -> None:
    left_spool(spools, host="another-host")
    _, (finding,) = examined()
    assert "has ended" in finding["remedy"]


def test_a_spool_root_that_cannot_be_a_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: Any
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRACK_SPOOL", str(tmp_path / "file"))
    code, findings = examined()
    assert code == 1
    assert "is not writable" in findings[0]["text"]
    assert "TRACK_SPOOL" in findings[0]["remedy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="to the superuser every folder can be written")
def test_a_read_only_spool_root_is_reported(spools: Path, examined: Any) -> None:
    spools.mkdir(mode=0o500)
    assert "is not writable" in examined()[1][0]["text"]


@pytest.mark.parametrize("variable", ["TRACK_SPOOL_SYNC", "TRACK_SPOOL_LIMIT", "TRACK_SYNC"])
def test_an_invalid_variable_is_reported(
    variable: str, monkeypatch: pytest.MonkeyPatch, examined: Any
) -> None:
    monkeypatch.setenv(variable, "sometimes")
    code, (finding,) = examined()
    assert code == 1
    assert variable in finding["text"]


# -- the server --------------------------------------------------------------------------------------


def test_an_unreachable_server_is_reported(examined: Any) -> None:
    _, (finding,) = examined("socket://ann:trk_x@127.0.0.1:1?pin=sha256:" + "A" * 43)
    assert "it is unreachable" in finding["text"]
    assert "is it running" in finding["remedy"]


def test_a_server_without_tls_is_reported(examined: Any) -> None:
    with fake_server(lambda peer: peer.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 99)) as port:
        _, (finding,) = examined(f"socket://ann:trk_x@127.0.0.1:{port}?pin=sha256:" + "A" * 43)
    assert "the connection cannot be encrypted" in finding["text"]
    assert "TLS 1.3" in finding["remedy"]


def test_another_key_is_reported(served: Served, examined: Any) -> None:
    uri = served.join("ann").replace(served.pin, "sha256:" + "A" * 43)
    _, (finding,) = examined(uri)
    assert "its key is not the expected one" in finding["text"]


def test_a_revoked_token_is_reported(served: Served, examined: Any) -> None:
    uri = served.join("ann")
    UserStore(served.home).remove("ann")
    _, (finding,) = examined(uri)
    assert "it does not accept the login" in finding["text"]


def test_a_missing_login_is_reported(served: Served, examined: Any) -> None:
    _, (finding,) = examined(f"socket://bob@{served.host}:{served.port}")
    assert "TRACK_TOKEN" in finding["remedy"]


def test_a_reader_is_reported(served: Served, examined: Any) -> None:
    _, (finding,) = examined(served.join("eve", Role.READER))
    assert "your role is reader" in finding["text"]
    assert "writer" in finding["remedy"]


def test_an_invalid_address_is_reported(examined: Any) -> None:
    _, (finding,) = examined("socket://ann:trk_secret@node1:99999999")
    assert "trk_secret" not in finding["text"] + finding["remedy"]


def test_the_configuration_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.config"
    path.write_text('{"spool": {"limit": "1G"}}')
    monkeypatch.setenv("TRACK_CONFIG", str(path))
    reset_configuration()
    try:
        assert run() == 0
    finally:
        reset_configuration()
    out = capsys.readouterr().out
    assert f"{path} is read" in out
    assert "TRACK_SPOOL_LIMIT is 1G" in out


def test_other_log_calls_than_points_are_reported_separately(spools: Path, examined: Any) -> None:
    left_spool(spools, calls=3)
    left_spool(spools, batches=0, calls=1, session=b"2" * 16)
    _, findings = examined()
    reported = sorted(finding["text"].partition("; ")[2].partition(" of ")[0] for finding in findings)
    assert reported == ["1 log call", "30 points and 3 other log calls"]
