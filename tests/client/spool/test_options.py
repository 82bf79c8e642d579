from __future__ import annotations

from pathlib import Path

import pytest

from track.spool.options import (
    SpoolOptions,
    SpoolSync,
    parse_size,
    parse_sync,
    sends_orphans,
    spool_root,
)
from track_protocol.errors import UsageError


def test_by_default_it_lies_in_the_state_folder_and_is_flushed_every_second(tmp_path: Path) -> None:
    options = SpoolOptions.of({"XDG_STATE_HOME": str(tmp_path)})
    assert options.root == tmp_path / "track" / "spool"
    assert (options.sync, options.limit) == (SpoolSync.INTERVAL, 4 * 1024**3)


def test_the_environment_says_where_how_durably_and_how_much() -> None:
    environment = {"TRACK_SPOOL": "/scratch", "TRACK_SPOOL_SYNC": "always", "TRACK_SPOOL_LIMIT": "2G"}
    assert SpoolOptions.of(environment) == SpoolOptions(Path("/scratch"), SpoolSync.ALWAYS, 2 * 1024**3)


def test_what_was_said_elsewhere_comes_first() -> None:
    environment = {"TRACK_SPOOL": "/scratch", "TRACK_SPOOL_SYNC": "always", "TRACK_SPOOL_LIMIT": "2G"}
    options = SpoolOptions.of(environment, SpoolSync.NONE, 5_000_000)
    assert (options.sync, options.limit) == (SpoolSync.NONE, 5_000_000)


def test_a_relative_root_holds_wherever_the_program_goes() -> None:
    assert spool_root({"TRACK_SPOOL": "spools"}) == Path.cwd() / "spools"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1M", 2**20), ("1m", 2**20), ("512MiB", 2**29), ("4GB", 2**32), ("2T", 2**41), ("1048576", 2**20)],
)
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1", "1K", "-1M", "1.5G", "many", "1M M", "9" * 40])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a spool size"):
        parse_size(text)


@pytest.mark.parametrize("sync", SpoolSync)
def test_a_way_to_sync_goes_by_its_word(sync: SpoolSync) -> None:
    assert parse_sync(sync.value.upper()) is sync


@pytest.mark.parametrize("variable", ["TRACK_SPOOL_SYNC", "TRACK_SPOOL_LIMIT"])
def test_a_variable_that_means_nothing_is_reported_by_name(variable: str) -> None:
    with pytest.raises(UsageError, match=variable):
        SpoolOptions.of({variable: "often"})


@pytest.mark.parametrize(("said", "sends"), [("", True), ("auto", True), ("Manual", False)])
def test_a_start_sends_what_others_left_unless_that_is_not_wanted(said: str, sends: bool) -> None:
    assert sends_orphans({"TRACK_SYNC": said}) is sends


def test_a_wrong_word_for_when_to_send_is_reported() -> None:
    with pytest.raises(UsageError, match="auto or manual"):
        sends_orphans({"TRACK_SYNC": "sometimes"})
