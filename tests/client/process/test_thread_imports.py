"""Threads of the client import no modules: a fork during an import leaves its lock held in the child."""

from __future__ import annotations

from pathlib import Path

import pytest

from running_server import ServerProcess
from script_runner import ScriptRunner

WATCHED = """
import threading

imported = set()

def watch(event, arguments):
    if event == "import" and threading.current_thread() is not threading.main_thread():
        imported.add((threading.current_thread().name, arguments[0]))

sys.addaudithook(watch)
client = TrackClient(os.environ["TRACK_URI"])
"""

RUN = """
with client.new_trial(arguments={"a": 1}) as trial:
    for number in range(100):
        trial.log_metrics(step=number, loss=float(number))
    trial.log_text("notes", "well")
client.protocol.fetch_trials({})
client.close()
"""

LEAVES_A_SPOOL = """
client.new_trial(arguments={"a": 1})
client.log_metrics(loss=1.0)
client.protocol.persist(30.0)
print("ready", flush=True)
os._exit(0)
"""

SENDS_ORPHANS = """
client.protocol.fetch_trials({})
for thread in threading.enumerate():
    if thread.name == "track-orphans":
        thread.join()
"""

REPORT = """
print(*sorted(imported), file=sys.stderr, sep="\\n", end="")
ready()
"""


def imports(runner: ScriptRunner, script: str) -> str:
    """What a script's threads imported, one line a module."""
    with runner.script(WATCHED + script + REPORT) as process:
        _, errors = process.communicate(timeout=60)
    return errors


@pytest.mark.parametrize("scheme", ["sqlite:{}/runs.db", "file:{}/runs.json", "ephemeral:"])
def test_the_threads_of_a_store_in_the_process_import_nothing(tmp_path: Path, scheme: str) -> None:
    assert imports(ScriptRunner(tmp_path, scheme.format(tmp_path)), RUN) == ""


def test_the_threads_that_ask_git_and_the_machine_import_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psutil")
    for name in ("TRACK_CAPTURE", "TRACK_SYSTEM_METRICS"):
        monkeypatch.setenv(name, "1")
    (tmp_path / ".git").mkdir()
    assert imports(ScriptRunner(tmp_path, f"sqlite:{tmp_path}/runs.db"), RUN) == ""


def test_the_threads_that_talk_to_a_server_import_nothing(tmp_path: Path) -> None:
    # Fails when a function that a login needs imports a module of cryptography itself.
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        assert imports(ScriptRunner(tmp_path, server.served.join("ann")), RUN) == ""


def test_the_threads_that_send_what_an_earlier_run_left_import_nothing(tmp_path: Path) -> None:
    with ServerProcess(f"sqlite:{tmp_path / 'runs.db'}", tmp_path / "home") as server:
        uri = server.served.join("ann")
        with ScriptRunner(tmp_path, f"{uri}&offline=require").script(LEAVES_A_SPOOL) as process:
            process.wait(60)
        assert imports(ScriptRunner(tmp_path, uri), SENDS_ORPHANS) == ""
        trial, values = ScriptRunner(tmp_path, uri).trial()
    assert (trial.parameters, values) == ({"a": 1}, {"loss": [1.0]})
