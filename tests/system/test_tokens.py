"""A token that a script has in its code reaches no store, no spool, no log and no output of a command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import ServerProcess, environment
from track import TrackClient
from track.persistence.protocol import Protocol
from track_protocol.uri import Uri

PIECE = 12
"""So many characters of a token are a part of it, and no accident."""

SCRIPT = """
import logging, sys
from pathlib import Path
from track import TrackClient

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
URI = "JOIN"
TOKEN = "THE_TOKEN"

client = TrackClient(STORE)
client.set_project(name="p")
trial = client.new_trial(name=f"name {TOKEN}", arguments={"uri": URI, "nested": {TOKEN: [URI, (TOKEN,)]}})
trial.capture_output(10)
try:
    with trial:
        trial.log_code()
        trial.log_arguments(later=URI)
        trial.log_metadata(command=sys.argv, environment={"TRACK_URI": URI}, long="x" * 1_048_500 + TOKEN)
        trial.add_tags(uri=URI)
        trial.log_metrics(step=1, loss=1.0, note=URI, **{f"loss {TOKEN}": 2.0})
        trial.log_metrics(step=URI, loss=1.0, context={"uri": URI})
        trial.log_text(f"text {TOKEN}", URI * 1_000)
        trial.log_text("short", URI)
        Path(f"{TOKEN}.yaml").write_text("#" * 262_123 + f"uri: {URI}")
        trial.log_file(f"{TOKEN}.yaml")
        trial.log_metadata(refused={TOKEN: object()})
        print("x" * 100_000 + TOKEN)
        raise RuntimeError(f"no connection to {URI}")
except RuntimeError:
    pass
client.close()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("served")
    with ServerProcess(f"sqlite:{folder / 'runs.db'}", folder / "home") as process:
        yield process


def train(folder: Path, join: str, store: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    token = Uri.parse(join).password
    assert token is not None
    path = folder / "train.py"
    path.write_text(
        SCRIPT.replace("JOIN", join).replace("THE_TOKEN", token).replace("STORE", store), encoding="utf-8"
    )
    return subprocess.run(
        [sys.executable, str(path), "--uri", join],
        cwd=folder,
        env=environment(TRACK_SPOOL=str(folder / "spools"), TRACK_SYNC="manual"),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def pieces(join: str) -> list[str]:
    """Parts of the token in a URI."""
    token = str(Uri.parse(join).password).removeprefix("trk_")
    return [token[start : start + PIECE] for start in range(len(token) - PIECE + 1)]


def leaks(join: str, text: str) -> bool:
    return any(piece in text for piece in pieces(join))


def everything_in(protocol: Protocol) -> str:
    """All that a reader can read of the trials in a store."""
    parts: list[str] = []
    for trial in protocol.fetch_trials({}):
        parts += [trial.name or "", repr(trial.parameters), repr(trial.metadata), repr(trial.tags)]
        parts += [repr(trial.errors), repr(trial.media)]
        for name in trial.metrics:
            points = protocol.fetch_metrics(trial, name)
            parts += [name, repr(list(points.steps)), repr(list(points.values))]
        for kind, names in trial.media.items():
            for name in names:
                parts += [name, repr(protocol.fetch_metrics(trial, name, kind).values)]
                for document in protocol.fetch_metrics(trial, name, kind).values:
                    if "digest" in document:
                        content = b"".join(protocol.fetch_blob(document["digest"]))
                        parts.append(content.decode("latin-1"))
        parts.append(repr(protocol.fetch_rejected(trial)))
    return "\n".join(parts)


def bytes_in(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["server", "sqlite", "file"])
def test_no_reader_of_a_store_finds_the_token(server: ServerProcess, tmp_path: Path, kind: str) -> None:
    join = server.served.join(f"ann-{kind}")
    stores = {
        "server": "URI",
        "sqlite": repr(f"sqlite:{tmp_path}/store.db"),
        "file": repr(f"file:{tmp_path}/store.json"),
    }
    ran = train(tmp_path, join, stores[kind])
    assert ran.returncode == 0, ran.stderr[-3_000:]
    assert not leaks(join, ran.stderr)
    uri = join if kind == "server" else stores[kind].strip("'")
    with TrackClient(uri) as client:
        found = everything_in(client.protocol)
    assert "no connection to socket://" in found, "the traceback is there"
    assert "log_metadata" in found, "the code is there"
    assert not leaks(join, found)
    if kind == "file":
        assert not leaks(join, json.dumps(json.loads((tmp_path / "store.json").read_text())))


def test_no_spool_has_the_token(server: ServerProcess, tmp_path: Path) -> None:
    join = server.served.join("ann-spool", offline="require")
    ran = train(tmp_path, join, "URI")
    assert ran.returncode == 0, ran.stderr[-3_000:]
    assert not leaks(join, ran.stderr)
    spooled = bytes_in(tmp_path / "spools")
    assert "no connection to socket://" in spooled, "what was logged is there"
    assert not leaks(join, spooled)
