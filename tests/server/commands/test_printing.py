"""Nothing that the server's commands print or log controls a terminal, whoever has chosen a name in it."""

from __future__ import annotations

import argparse
import io
import logging
from pathlib import Path

import pytest

from track import TrackClient
from track_protocol.command import Command
from track_server.accounts.identity import Identity
from track_server.commands import backup, check, restore, user
from track_server.commands.printing import LogFormatter

ATTACK = "\x1b]0;pwned\x07\x9b2J\u202e"


def run(command: Command, *words: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(words))


def test_no_command_of_the_server_sends_the_escapes_in_a_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Fails when `say` or `tell` does not clean what it prints.
    folder = tmp_path / f"folder {ATTACK}"
    folder.mkdir()
    copy, home, url = folder / "copy", folder / "home", f"sqlite:{tmp_path}/runs.db"
    with TrackClient(url) as client:
        client.new_trial(ATTACK).finish()
    assert run(check.COMMAND, url) == 0
    assert run(check.COMMAND, url, "--json") == 0
    assert run(backup.COMMAND, str(copy), url) == 0
    assert run(restore.COMMAND, str(copy), url) == 0
    adding = ("add", "ann", "--role", "writer", "--home", str(home), "--output", str(folder / "uri"))
    home.mkdir(mode=0o700)
    Identity.load_or_create(home)
    assert run(user.COMMAND, "list", "--home", str(home)) == 0
    assert run(user.COMMAND, *adding) == 0
    printed = "".join(capsys.readouterr())
    assert [letter for letter in ATTACK if not letter.isprintable() and letter in printed] == []
    assert "\\u001b]0;pwned" in printed


def test_a_line_of_the_log_is_one_line_without_escapes() -> None:
    # Fails when the formatter leaves a message as it is: a peer could write lines of its own.
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("here")
    log.addHandler(handler)
    log.propagate = False
    log.warning("closing %s", f"peer {ATTACK}\nERROR here: forged")
    try:
        raise ValueError(ATTACK)
    except ValueError:
        log.exception("failed")
    first, second, *rest = stream.getvalue().splitlines()
    assert first == "WARNING here: closing peer \\u001b]0;pwned\\u0007\\u009b2J\\u202e\\nERROR here: forged"
    assert (second, rest[0]) == ("ERROR here: failed", "Traceback (most recent call last):")
    assert "\x1b" not in stream.getvalue()
