"""Crash output has no tokens in it, and is otherwise as Python and other hooks print it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from track_protocol.security.tokens import new_token

TOKEN = new_token()


def crash(folder: Path, source: str) -> str:
    """Run a script that fails; return what it prints."""
    path = folder / "train.py"
    path.write_text(textwrap.dedent(source).replace("TOKEN", TOKEN))
    ran = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, cwd=folder, timeout=60
    )
    assert ran.returncode == 1
    return ran.stderr


@pytest.mark.parametrize(
    "call",
    [
        'TrackClient("socket://ann:TOKEN@127.0.0.1:1?nosuch=1")',
        'TrackClient("sockett://ann:TOKEN@127.0.0.1:1")',
        'TrackClient("socket://ann:TOKEN@127.0.0.1:1?timeout=0.1&offline=never").set_project(name="p")',
    ],
)
def test_the_line_that_raised_is_shown_without_its_token(tmp_path: Path, call: str) -> None:
    # Fails when `get_protocol` does not call `redact_crash_output`: Python prints the line.
    err = crash(tmp_path, f"from track import TrackClient\n{call}\n")
    assert TOKEN[4:] not in err
    assert "Traceback (most recent call last)" in err
    assert "socket" in err.split("File ")[1]


def test_a_crash_in_a_thread_shows_no_token(tmp_path: Path) -> None:
    err = crash(
        tmp_path,
        """
        import sys, threading
        from track.process.crash import redact_crash_output
        redact_crash_output()
        def work():
            raise ValueError("TOKEN")
        thread = threading.Thread(target=work, name="worker")
        thread.start()
        thread.join()
        sys.exit(1)
        """,
    )
    assert TOKEN not in err
    assert "Exception in thread worker:" in err


def test_other_crashes_are_left_to_the_hook_that_was_there(tmp_path: Path) -> None:
    err = crash(
        tmp_path,
        """
        import sys
        from track.process.crash import redact_crash_output
        sys.excepthook = lambda kind, error, trace: print("mine", error, file=sys.stderr)
        redact_crash_output()
        redact_crash_output()
        raise ValueError("plain")
        """,
    )
    assert err == "mine plain\n"
