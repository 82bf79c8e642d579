from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from track.demo import command
from track.demo.command import COMMAND
from track_protocol.errors import MissingExtra


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    COMMAND.configure(parser)
    return parser.parse_args(arguments)


def test_by_default_eight_workers_share_at_least_24_trials_of_several_epochs() -> None:
    args = parse()
    assert args.workers == 8
    assert args.trials >= 24
    assert args.epochs > 2
    assert args.dir is None


@pytest.mark.parametrize("option", ["--workers", "--trials", "--epochs"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_number_that_makes_no_sense_is_refused(option: str, value: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(option, value)


def test_missing_packages_are_named_with_the_extra_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command._NEEDED, "no_such_package", "no-such-package")
    with pytest.raises(MissingExtra, match=r"no-such-package: pip install 'trackwire\[demo\]'"):
        COMMAND.run(parse("--dir", str(tmp_path / "demo")))
    assert not (tmp_path / "demo").exists()


def test_listing_the_command_loads_none_of_the_packages_it_needs() -> None:
    code = "import sys, track.demo.command; print({'numpy', 'sklearn', 'rich'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
