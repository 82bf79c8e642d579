"""The command itself: its version, its help, its completion, and output that leads nowhere."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command_runner import fill
from track.cli import main
from track_protocol.security.tokens import new_token


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"sqlite:{tmp_path}/runs.db"
    fill(uri)
    monkeypatch.setenv("TRACK_URI", uri)
    return uri


def in_shell(text: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `track` is the command."""
    line = text.replace("track", f"{shlex.quote(sys.executable)} -m track.cli", 1)
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"track {importlib.metadata.version('trackwire')}\n"


@pytest.mark.parametrize("words", [["help"], ["--help"]])
def test_the_help_lists_the_commands(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert all(f"\n    {name} " in listed for name in ("ls", "export", "rm", "help"))


def test_the_help_of_a_command_is_also_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["help", "ls"])
    assert ended.value.code == 0
    assert "--columns" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_a_shell_completes_commands_and_options(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    pytest.importorskip("shtab", reason="extra cli")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "export" in script
    assert "dry-run" in script


def test_the_script_for_bash_is_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="extra cli")
    main(["completion", "bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    done = subprocess.run(["bash", "-n", tmp_path / "script"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


EVERYTHING_PRINTED = (
    "ls",
    "export",
    "export --wide --format json",
    "query 'SELECT 1' --csv",
    "--help",
    "help",
    "help ls",
    "--version",
    "ls --help",
    "server --help",
    "user add --help",
    "completion bash",
)


@pytest.mark.parametrize("words", EVERYTHING_PRINTED)
def test_a_full_disk_is_one_line(uri: str, words: str) -> None:
    done = in_shell(f"track {words} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "track: the output cannot be written (No space left on device): free some space\n"


@pytest.mark.parametrize("streams", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_output_is_one_line(uri: str, streams: str) -> None:
    # Fails without `_open_standard_streams`: the store's file would become the output.
    for words in (
        "export --wide",
        "query 'SELECT * FROM points'",
        "rm --filter 'lr > 9' --dry-run",
        "--help",
    ):
        done = in_shell(f"track {words} {streams}")
        said = (
            "track: the output cannot be written (Bad file descriptor): it is closed: redirect it to a file\n"
        )
        assert (done.returncode, done.stderr) == (1, "" if "2>" in streams else said)
    assert in_shell("track ls --json").stdout.count('"uid"') == 3


@pytest.mark.parametrize("words", ["ls --nosuch", "nosuch", ""])
def test_a_closed_error_output_does_not_hide_a_failure(uri: str, words: str) -> None:
    assert in_shell(f"track {words} 2>&-").returncode == 2


def test_a_reader_that_leaves_ends_the_output_silently(uri: str) -> None:
    assert in_shell("track query 'SELECT * FROM points a, points b' --csv | head -n 1").stderr == ""


def test_a_token_on_the_command_line_is_warned_of_and_not_printed(uri: str) -> None:
    # Fails when `main` does not look at its arguments: all users of the machine can.
    token = new_token()
    ran = in_shell(f"track ls --uri socket://ann:{token}@127.0.0.1:1?timeout=0.1")
    assert ran.returncode == 5
    assert (
        "every user of this machine can see the token on this command line: run 'track login'" in ran.stderr
    )
    assert token not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "option", ["postgresql://ann:se/cret@h/d", "postgres://h/d?user=ann&password=se/cret"]
)
def test_a_password_of_a_database_is_refused_on_the_command_line(option: str) -> None:
    ran = in_shell(f"track ls --uri '{option}'")
    assert ran.returncode == 2
    assert "~/.pgpass" in ran.stderr
    assert "cret" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("words", ["ls --nosuch=TOKEN", "TOKEN", "ls --filter TOKEN", "show TOKEN"])
def test_a_wrong_argument_is_quoted_without_a_token(uri: str, words: str) -> None:
    token = new_token()
    ran = in_shell(f"track {words.replace('TOKEN', token)}")
    assert ran.returncode in (2, 3)
    assert token not in ran.stdout + ran.stderr


def test_other_command_lines_are_not_warned_of(uri: str) -> None:
    assert in_shell("track ls").stderr == ""
