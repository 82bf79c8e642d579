"""The line at the start of a run, and names for trials without one."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from track import TrackClient
from track.recording.announce import line_for
from track.recording.names import made_name
from track_protocol.model.entities import Trial

TRIAL = Trial(_hash="0123456789abcdef", revision=2, name="brave-otter-27")


def test_it_says_what_the_trial_is_called_and_how_to_look_at_it() -> None:
    line = line_for("sqlite:runs.db", TRIAL, {})
    command = "track show --uri sqlite:runs.db 01234567_2"
    assert line == f"track: brave-otter-27 (01234567_2) has started; look at it with: {command}"


def test_a_store_of_the_environment_needs_no_option() -> None:
    assert line_for("sqlite:r.db", TRIAL, {"TRACK_URI": "sqlite:r.db"}).endswith("track show 01234567_2")


def test_it_has_no_token() -> None:
    line = line_for("socket://ann:trk_secret@node1:8123?pin=sha256:ab", TRIAL, {})
    assert "secret" not in line
    assert "ann@node1:8123" in line


@pytest.mark.parametrize("uri", ["none:", "ephemeral:", "cometml:a/b", ""])
def test_a_store_that_no_other_process_can_open_has_none(uri: str) -> None:
    assert line_for(uri, TRIAL, {}) == ""


@pytest.mark.parametrize("quiet", ["0", "1"])
def test_it_is_printed_once_when_the_trial_starts(
    quiet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACK_QUIET", quiet)
    with TrackClient(f"sqlite:{tmp_path}/runs.db") as client:
        logger = client.new_trial("t")
        logger.log_metrics(loss=1.0)
        with logger:
            pass
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == (0 if quiet == "1" else 1)


def test_a_trial_without_a_name_gets_one_that_is_no_part_of_its_identity() -> None:
    client = TrackClient("ephemeral:")
    first = client.new_trial(arguments={"a": 1}).trial
    second = client.new_trial(force=True, arguments={"a": 1}).trial
    assert first.name is not None
    assert re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", first.name)
    assert (second.hash, second.revision) == (first.hash, 1)
    (found,) = client.protocol.fetch_trials({"name": first.name, "revision": 0})
    assert found.uid == first.uid


def test_names_leave_the_random_numbers_of_the_program_alone() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    assert len({made_name() for _ in range(50)}) > 40
    assert random.random() == expected
