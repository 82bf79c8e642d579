"""Escape bytes in all that a store, a spool or a server holds, thrown at each command on a terminal."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from command_runner import in_terminal
from fake_servers import FakePeer, fake_server
from orphaned_spools import left_spool
from track import TrackClient
from track.persistence import get_protocol
from track_protocol.model.entities import Project, Status, Trial, TrialGroup
from track_protocol.security.tokens import new_token
from track_protocol.wire.frames import FrameKind, encode_frame

ATTACK = "\x1b]0;pwned\x07\x1b[8mhidden\x9b2J\x0e\r\u202e"
"""Changes the title, rings, hides text, clears the screen, switches the character set, overwrites a line."""

SENT = ("\x1b]", "\x07", "\x1b[8m", "\x9b", "\x0e", "\u202e", "\r\u202e")

TOKEN = new_token()

COMMANDS: dict[str, list[list[str]]] = {
    "compare": [["--all"], ["--all", "--json"]],
    "doctor": [[], ["--json"]],
    "export": [
        [],
        ["--format", "json"],
        ["--wide"],
        ["--wide", "--format", "json"],
    ],
    "ls": [
        [],
        ["--json"],
        ["projects"],
        ["groups"],
        ["--columns", f"name,tags.tag {ATTACK[:2]}"],
        ["--filter", f"name = '{ATTACK}'"],
    ],
    "plot": [["loss"]],
    "query": [
        ["SELECT * FROM trials"],
        ["--json", "SELECT * FROM trials"],
        ["--csv", "SELECT * FROM params"],
        [f"SELECT 1 AS '{ATTACK}'"],
        [f"SELECT {ATTACK}"],
    ],
    "report": [["UID"]],
    "rm": [["--dry-run", "UID"], [ATTACK, "--yes"]],
    "show": [["UID"], ["--json", "UID"], [ATTACK]],
    "sync": [["--dry-run"], ["--dry-run", "--json"], ["--to", "socket://ann:x@127.0.0.1:1?timeout=0.1"]],
    "tail": [["--no-follow", "UID"], ["--no-follow", "--json", "UID"]],
    "trust": [[]],
}
"""Arguments of the commands that print what others may have chosen."""

PRINT_NOTHING_OF_OTHERS = {
    *("backup", "check", "demo", "restore", "server", "user"),  # those of the server's operator
    *("download", "import", "login"),  # tested below, or they print paths that were given
    *("board", "simpleboard"),  # they print an address
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the attack wherever it accepts one."""
    made = f"sqlite:{tmp_path_factory.mktemp('attacked') / 'runs.db'}"
    protocol = get_protocol(made)
    project = protocol.new_project(Project(name="p", description=ATTACK, metadata={ATTACK: ATTACK}))
    assert project is not None
    protocol.new_trial_group(TrialGroup(name="g", project_id=project.uid, description=ATTACK))
    for number in range(2):
        parameters: dict[Any, Any] = {ATTACK: ATTACK, "number": number, (1, ATTACK): {(2,): ATTACK}}
        trial = protocol.new_trial(
            Trial(
                name="t",
                description=ATTACK,
                project_id=project.uid,
                parameters=parameters,
                tags={"tag": ATTACK, ATTACK: 1},
                metadata={"text": ATTACK, "nested": {ATTACK: [ATTACK]}, "bytes": ATTACK.encode()},
            )
        )
        assert trial is not None
        protocol.log_trial_metrics(trial, 1, loss=1.0, note=ATTACK)
        protocol.log_trial_metrics(trial, ATTACK, loss=2.0, context={"phase": ATTACK})
        protocol.set_trial_status(trial, Status.Exception, error=ATTACK)
    protocol.close()
    return made


@pytest.fixture
def uid(uri: str) -> str:
    with TrackClient(uri) as client:
        return client.protocol.fetch_trials({})[0].uid


@pytest.fixture
def spools(tmp_path: Path) -> Path:
    """A spool whose metadata hold the attack."""
    path = left_spool(tmp_path / "spools", server="socket://ann@127.0.0.1:1?timeout=0.1")
    metadata = json.loads((path / "spool.json").read_text())
    metadata |= {"program": ATTACK, "host": ATTACK}
    (path / "spool.json").write_text(json.dumps(metadata))
    (path / "state.json").write_text(json.dumps({"acked": 0, "generation": ATTACK, "problem": ATTACK}))
    return path.parent


def shown(*words: str, uri: str, **env: str) -> str:
    """What a command prints on a terminal."""
    return in_terminal(120, *words, uri=uri, env=list(env.items()), may_fail=True)


def escapes_in(text: str) -> list[str]:
    return [each for each in SENT if each in text]


@pytest.mark.parametrize(
    ("command", "words"),
    [(command, words) for command, several in COMMANDS.items() for words in several],
    ids=lambda value: None if isinstance(value, str) else ascii(" ".join(value)),
)
def test_no_command_sends_an_escape_of_others_to_the_terminal(
    command: str, words: list[str], uri: str, uid: str, spools: Path, tmp_path: Path
) -> None:
    config = tmp_path / "track.config"
    config.write_text(json.dumps({"note": ATTACK}))
    given = [uid if word == "UID" else word for word in words]
    out = shown(command, *given, uri=uri, TRACK_SPOOL=str(spools), TRACK_CONFIG=str(config))
    assert out, "it printed something"
    assert "Traceback" not in out
    assert escapes_in(out) == []


def test_every_command_is_among_them() -> None:
    installed = {point.name for point in entry_points(group="track.commands")}
    assert installed == COMMANDS.keys() | PRINT_NOTHING_OF_OTHERS


def test_names_of_downloaded_files_are_cleaned(tmp_path: Path) -> None:
    uri, source = f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "model.bin"
    source.write_bytes(b"model")
    with TrackClient(uri) as client, client.new_trial(name="t") as trial:
        trial.log_artifact(source, "model \u202e.bin")
    out = shown("download", "t", "--to", str(tmp_path / "there"), uri=uri)
    assert escapes_in(out) == []


def refuse(peer: FakePeer) -> None:
    """What a hostile server says before any login."""
    peer.hear(1)
    peer.socket.sendall(encode_frame(FrameKind.CLOSE, ["authentication", ATTACK]))
    peer.listen_to_the_end()


@pytest.mark.parametrize("command", [["ls"], ["doctor"], ["sync"], ["show", "t"]])
def test_the_error_of_a_hostile_server_is_cleaned(command: list[str], spools: Path) -> None:
    with fake_server(refuse) as port:
        uri = f"socket://ann:{TOKEN}@127.0.0.1:{port}?security_layer=plaintext&timeout=5"
        words = [*command, "--to", uri] if command == ["sync"] else command
        out = shown(*words, uri=uri, TRACK_SPOOL=str(spools))
    assert escapes_in(out) == []


def test_a_warning_in_a_training_script_is_cleaned(tmp_path: Path) -> None:
    with fake_server(refuse) as port:
        script = tmp_path / "train.py"
        script.write_text(
            "from track import TrackClient\n"
            f"client = TrackClient('socket://ann:{TOKEN}@127.0.0.1:{port}?security_layer=plaintext')\n"
            "client.set_project(name='p')\n"
        )
        out = in_terminal(120, uri="", program=[str(script)], may_fail=True)
    assert escapes_in(out) == []


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
