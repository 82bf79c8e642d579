"""``track rm``: what is asked, what is deleted, and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_runner import fill, run
from running_server import serving
from track import TrackClient
from track.commands.rm import COMMAND
from track.persistence import get_protocol
from track_protocol.errors import UsageError
from track_server.app import Settings


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


def left(uri: str) -> list[str]:
    protocol = get_protocol(uri)
    try:
        return [trial.uid for trial in protocol.fetch_trials({})]
    finally:
        protocol.close()


def test_named_trials_are_shown_and_deleted(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    assert run(COMMAND, "--uri", uri, "--yes", uids[0][:10], uids[1], uids[1]) == 0
    reported = capsys.readouterr().out
    assert reported.splitlines()[1].split()[0] == f"{uids[0][:8]}_0"
    assert reported.endswith("2 trials deleted\n")
    assert left(uri) == uids[2:]


def test_a_filter_selects_the_trials(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    uids = fill(uri)
    assert run(COMMAND, "--uri", uri, "--filter", "status = exception", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {"uid": uids[2], "name": "first", "deleted": True, "error": None}
    ]
    assert left(uri) == uids[:2]


def test_a_dry_run_and_a_no_delete_nothing(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = fill(uri)
    assert run(COMMAND, "--uri", uri, "--filter", "lr > 0", "--dry-run") == 0
    assert capsys.readouterr().out.count("\n") == 4
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, gone in (("\n", 0), ("n\n", 0), ("y\n", 1)):
        monkeypatch.setattr("sys.stdin", _Typed(answer))
        assert run(COMMAND, "--uri", uri, uids[0]) == 0
        assert len(left(uri)) == 3 - gone
    assert "delete 1 trial permanently? [y/N]" in capsys.readouterr().err


class _Typed:
    """A terminal at which somebody typed a line."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._line


def test_no_trial_is_deleted_without_confirmation(uri: str) -> None:
    uids = fill(uri)
    with pytest.raises(UsageError, match="add --yes"):
        run(COMMAND, "--uri", uri, uids[0])
    for words in ((), ("--filter", " "), (uids[0], "--filter", "lr > 0")):
        with pytest.raises(UsageError, match="name trials, or select them"):
            run(COMMAND, "--uri", uri, "--yes", *words)
    assert left(uri) == uids


def test_a_trial_that_a_process_writes_stays_unless_forced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server").mkdir()
    settings = Settings(backend=f"sqlite:{tmp_path}/server/runs.db", home=tmp_path / "home")
    with serving(settings) as served:
        uri = served.join("bob")
        with TrackClient(served.join("ann")) as client:
            trial = client.new_trial(name="live")
            trial.start()
            client.save()
            uid = trial.trial.uid
            assert run(COMMAND, "--uri", uri, "--yes", uid) == 1
            reported = capsys.readouterr()
            assert "0 trials deleted" in reported.out
            assert f"trial {uid} is still written by 'ann'" in reported.err
            assert "--force" in reported.err
            assert run(COMMAND, "--uri", uri, "--yes", "--force", uid) == 0
            trial.log_metrics(step=1, loss=1.0)
            trial.finish()
            client.save()
            assert left(uri) == []
