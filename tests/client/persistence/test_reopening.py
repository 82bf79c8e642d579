"""Clients and trials that are copied or pickled: no token in it, and one store in each process."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from running_server import serving
from script_runner import ScriptRunner
from track import TrackClient
from track.tracker import Tracker
from track_server.app import Settings


def test_a_client_can_be_copied_and_logs_on(tmp_path: Path) -> None:
    client = TrackClient(f"sqlite:{tmp_path}/runs.db")
    client.set_version("1")
    client.set_project("p")
    client.new_trial(arguments={"a": 1})
    for twin in (copy.deepcopy(client), pickle.loads(pickle.dumps(client))):  # noqa: S301 # our own bytes
        assert twin.protocol is client.protocol
        twin.log_metrics(loss=1.0)
    client.protocol.flush()
    (found,) = client.protocol.fetch_trials({})
    assert found.metrics["loss"] == [1.0, 1.0]


def test_a_tracker_can_be_copied_and_logs_on(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path)
    tracker.set_experiment("e")
    tracker.start_run("r")
    for twin in (copy.deepcopy(tracker), pickle.loads(pickle.dumps(tracker))):  # noqa: S301 # our own bytes
        twin.record("loss", 1.0, 0)
    tracker.end_run()
    assert tracker.summary(1)["loss"]["n"] == 2


def test_a_pickle_holds_no_token(tmp_path: Path) -> None:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        uri = served.join("ann")
        client = TrackClient(uri)
        client.new_trial(arguments={"a": 1})
        token = uri.split(":")[2].split("@")[0]
        assert token in uri
        assert token.encode() not in pickle.dumps(client)
        client.close()


WORKERS = """
if __name__ == "__main__":
    import threading
    from workers import log, pid

    def terminate_again():
        # Python acts on a signal that came just before a blocking call when the next one comes.
        while not ended.wait(10):
            for child in multiprocessing.active_children():
                child.terminate()

    ended = threading.Event()
    threading.Thread(target=terminate_again, daemon=True).start()
    method = os.environ["METHOD"]
    client.new_trial(arguments={"a": 1})
    with multiprocessing.get_context(method).Pool(2) as pool:
        outboxes = pool.starmap(log, [(client.logger, number) for number in range(40)], chunksize=1)
    # Its end has sent SIGTERM to the workers.
    ended.set()
    client.log_metrics(outboxes=len(set(outboxes)), processes=len({pid for pid, _ in outboxes}))
    client.close()
    ready()
"""

WORKER_MODULE = """
import os, pickle

def pid():
    return os.getpid()

def log(trial, number):
    trial.log_metrics(number, loss=float(number))
    trial = pickle.loads(pickle.dumps(trial))
    trial.log_metrics(number, again=float(number))
    return os.getpid(), id(trial.protocol)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_that_a_pool_ends_lose_nothing_and_make_one_outbox_each(tmp_path: Path, method: str) -> None:
    with serving(Settings(f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        runner = ScriptRunner(tmp_path, served.join("ann"))
        (tmp_path / "workers.py").write_text(WORKER_MODULE)
        with runner.script(WORKERS, METHOD=method) as process:
            assert process.wait(60) == 0, process.communicate()
        _, values = runner.trial()
    assert sorted(values["loss"]) == sorted(values["again"]) == [float(number) for number in range(40)]
    assert values["outboxes"] == values["processes"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_that_is_terminated_loses_nothing(tmp_path: Path, method: str) -> None:
    script = """
    if __name__ == "__main__":
        from workers import run
        client.new_trial(arguments={"a": 1})
        context = multiprocessing.get_context(os.environ["METHOD"])
        logged = context.Event()
        child = context.Process(target=run, args=(client.logger, logged))
        child.start()
        logged.wait(30)
        child.terminate()
        child.join()
        assert child.exitcode == -15, child.exitcode
        ready()
    """
    module = """
import time

def run(trial, logged):
    for number in range(1000):
        trial.log_metrics(number, loss=float(number))
    logged.set()
    # In short pieces: Python handles a signal that comes just before one of them only behind it.
    while True:
        time.sleep(0.01)
"""
    (tmp_path / "workers.py").write_text(module)
    runner = ScriptRunner(tmp_path, f"sqlite:{tmp_path}/runs.db")
    with runner.script(script, METHOD=method) as process:
        process.communicate(timeout=60)
    assert runner.trial()[1] == {"loss": [float(number) for number in range(1000)]}
