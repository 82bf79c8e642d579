"""Complete trainings whose server starts late, stops or comes back, as real processes.

Negative controls, each of which makes a test here fail:

* `PendingCreates.create` without its ``except _UNREACHABLE``: a training that is alone does not start.
* `Outbox.after_fork_in_child` without what it inherits: a child's points have no trial.
* `TrialLogger._created` without what was said after the fork: a tag of the parent or the child is missing.
* `Delivery._offer_entry` without its check for ``cancelled``: a claim that failed is made after all.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import offline_training
from running_server import Served, ServerProcess, environment
from track import TrackClient
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track.persistence.remote import OutboxProtocol
from track.serialization import to_json
from track_protocol.errors import CallTimeout, ServerUnreachable
from track_protocol.model.entities import Status, Trial
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore

TRAINING = Path(offline_training.__file__)
SECONDS = 60.0


pytestmark = pytest.mark.usefixtures("own_folders")


class LateServer:
    """A server with an address and a user before it runs.

    Args:
        folder: for its home and its store.
    """

    def __init__(self, folder: Path) -> None:
        self._home = folder / "home"
        self._store = f"sqlite:{folder / 'runs.db'}"
        # Bound and not listening: no other process gets the port, and connections to it are refused.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self._home.mkdir()
        token = UserStore(self._home).add("ann", Role.WRITER)
        self.uri = Served("127.0.0.1", self.port, "", self._home).uri("ann", token)
        self.process: ServerProcess | None = None

    def start(self) -> None:
        """Begin to serve."""
        self.process = ServerProcess(self._store, self._home, port=self.port)

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process is not None:
            self.process.__exit__()
        self._held.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LateServer]:
    late = LateServer(tmp_path)
    yield late
    late.close()


@contextmanager
def training(uri: str, go: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A training process; what it says is to be read by who started it."""
    command = [sys.executable, str(TRAINING), uri, str(go)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**variables)
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Id and uid of the trial of a training that ended well, and what it complained of."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "not saved" not in err
    return out.strip(), err


def content(protocol: Protocol, id: str) -> dict[str, Any]:
    """Return everything stored of a trial, except what differs in each run."""
    (trial,) = protocol.get_trial(Trial(id=bytes.fromhex(id))) or []
    (project,) = protocol.fetch_projects({"uid": trial.project_id})
    (group,) = protocol.fetch_groups({"uid": trial.group_id})
    assert trial.uid in group.trials
    found = to_json(replace(trial, metrics={}, chronos={}, revision=0))
    for time in ("heartbeat", "_last_change"):
        found["metadata"].pop(time)
    found.pop("id")
    for name in trial.metrics:
        series = protocol.fetch_metrics(trial, name)
        found[f"points of {name}"] = repr([list(series.steps), list(series.values)])
    for name in trial.chronos:
        found[f"timings of {name}"] = len(protocol.fetch_metrics(trial, name, "chrono"))
    return {**found, "project": (project.name, project.description), "group": group.name}


def test_a_training_that_starts_before_its_server_is_stored_as_one_that_does_not(
    server: LateServer, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with training(server.uri, go) as process:
        assert said(process) == "halfway"
        server.start()
        go.touch()
        alone, _ = ended(process)[0].split()
    with training(server.uri, go) as process:
        assert said(process) == "halfway"
        online, _ = ended(process)[0].split()
    with TrackClient(server.uri) as client:
        expected = content(client.protocol, online)
        assert expected["status"] == {"value": 302, "name": "Completed"}
        assert content(client.protocol, alone) == expected


def test_two_trainings_of_the_same_parameters_get_two_revisions(server: LateServer, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with training(server.uri, go) as one, training(server.uri, go) as other:
        assert (said(one), said(other)) == ("halfway", "halfway")
        server.start()
        go.touch()
        outputs = [ended(one), ended(other)]
    (first, first_uid), (second, second_uid) = [out.split() for out, _ in outputs]
    assert all(f"TRACK_TRIAL={id}" in err for id, (_, err) in zip((first, second), outputs, strict=True))
    with TrackClient(server.uri) as client:
        trials = client.protocol.fetch_trials({"name": "t"})
        assert content(client.protocol, first) == content(client.protocol, second)
    assert sorted(trial.revision for trial in trials) == [0, 1]
    # The trainings' own last statuses are final.
    assert {trial.id.hex(): trial.uid for trial in trials if trial.id} == {
        first: first_uid,
        second: second_uid,
    }


def test_a_training_that_is_not_to_start_alone_says_so_and_fails(server: LateServer, tmp_path: Path) -> None:
    with training(f"{server.uri}&timeout=0.5", tmp_path / "go", TRACK_OFFLINE="never") as process:
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out) == (1, "")
    assert f"ServerUnreachable: no server answers at 127.0.0.1:{server.port}" in err


def test_a_job_resumes_the_trial_of_an_earlier_one_while_the_server_is_unreachable(
    server: LateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    with TrackClient(server.uri) as first:
        first.set_version("1")
        trial = first.new_trial(name="t", arguments={"lr": 0.1}).trial
        assert trial.id is not None
    assert server.process is not None
    server.process.kill()
    monkeypatch.setenv("TRACK_TRIAL", trial.id.hex())
    second = TrackClient(server.uri)
    second.new_trial().log_metrics(step=1, loss=0.5)
    server.start()
    second.save()
    second.close()
    with TrackClient(server.uri) as client:
        assert (client.protocol.get_trial(trial) or [])[0].metrics["loss"] == {1: 0.5}
        assert second.trial is not None
        assert second.trial.uid == trial.uid


def test_a_forked_child_brings_the_trial_that_its_parent_could_not_store(
    server: LateServer, tmp_path: Path
) -> None:
    program = """
import os, sys
from pathlib import Path
from track import TrackClient
from waiting import wait_until
client = TrackClient(sys.argv[1])
client.set_project(name="forked")
trial = client.new_trial(name="t", arguments={"lr": 0.1})
if os.fork():
    os._exit(0)  # as if it were killed, before it could send anything
print("forked", flush=True)
wait_until(Path(sys.argv[2]).exists, "the sign to go on", 60.0)
client.log_metrics(step=1, loss=0.5)
client.close()
print("saved", flush=True)
"""
    go = tmp_path / "go"
    support = environment(PYTHONPATH=str(TRAINING.parent))
    command = [sys.executable, "-c", program, server.uri, str(go)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=support) as process:
        assert said(process) == "forked"
        server.start()
        go.touch()
        assert said(process) == "saved"
    with TrackClient(server.uri) as client:
        (trial,) = client.protocol.fetch_trials({"name": "t"})
        assert trial.metrics["loss"] == {1: 0.5}


def test_what_a_parent_and_its_child_said_of_the_trial_that_they_share_is_merged(
    server: LateServer,
) -> None:
    # Fails when what is said after the fork is left to the creation, which only one of the two makes.
    program = """
import os, sys
from track import TrackClient
client = TrackClient(sys.argv[1])
client.set_project(name="shared")
client.new_trial(name="t", tags={"before": 1})
child = os.fork()
own = "parent" if child else "child"
client.add_tags(**{own: 1})
client.log_metadata(**{own: 1})
if child:
    client.log_arguments(lr=0.1)
client.log_metrics(loss=1.0)
client.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""
    command = [sys.executable, "-c", program, f"{server.uri}&offline=require"]
    assert subprocess.run(command, env=environment()).returncode == 0
    server.start()
    sync = [sys.executable, "-m", "track.cli", "sync", "--to", server.uri]
    assert subprocess.run(sync, env=environment()).returncode == 0
    with TrackClient(server.uri) as client:
        (trial,) = client.protocol.fetch_trials({})
        assert list(client.protocol.fetch_metrics(trial, "loss").values) == [1.0, 1.0]
        assert len(client.protocol.fetch_metrics(trial, "runtime", "chrono").values) == 1  # the parent's
    assert (trial.status, trial.parameters) == (Status.Completed, {"lr": 0.1})
    assert trial.tags == {"before": 1, "parent": 1, "child": 1}
    assert {name: trial.metadata[name] for name in ("parent", "child")} == {"parent": 1, "child": 1}


def test_a_server_that_stands_still_holds_up_no_first_log_call(server: LateServer) -> None:
    server.start()
    assert server.process is not None
    with TrackClient(server.uri) as online:
        online.set_version("1")
        online.new_trial(name="t").log_metrics(loss=1.0)
    server.process.process.send_signal(signal.SIGSTOP)
    try:
        client = TrackClient(f"{server.uri}&timeout=60")
        client.set_version("1")
        trial = client.new_trial(name="t")
        trial.log_metrics(loss=2.0)
        assert trial.trial.revision == 0  # not known yet: no server has answered
    finally:
        server.process.process.send_signal(signal.SIGCONT)
    client.close()
    assert trial.trial.revision == 1
    with TrackClient(server.uri) as reader:
        assert (reader.protocol.get_trial(trial.trial) or [])[0].metrics["loss"] == [2.0]


def created(server: LateServer) -> TrackClient:
    """A client that has created a trial, of a project and a group."""
    client = TrackClient(f"{server.uri}&timeout=60")
    client.set_project(name="p")
    client.set_group(name="g")
    client.new_trial(name="t").log_metrics(loss=0.5)
    return client


def test_a_server_that_is_slow_to_answer_is_not_called_unreachable(
    server: LateServer, caplog: pytest.LogCaptureFixture
) -> None:
    # The kernel accepts connections of a process that has no time to: it looks like a machine under load.
    server.start()
    assert server.process is not None
    server.process.process.send_signal(signal.SIGSTOP)
    try:
        client = created(server)
    finally:
        server.process.process.send_signal(signal.SIGCONT)
    client.close()
    assert caplog.text.count("slow to answer; still waiting") == 1
    for alarm in ("cannot be reached", "no server answers", "start the server", "gets its revision"):
        assert alarm not in caplog.text
    with TrackClient(server.uri) as reader:
        assert [trial.name for trial in reader.protocol.fetch_trials({})] == ["t"]


def test_a_server_that_refuses_connections_is_called_unreachable(
    server: LateServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = created(server)
    assert caplog.text.count("no server answers at") == 1
    assert "gets its revision when it is stored" in caplog.text
    assert "slow to answer" not in caplog.text
    server.start()
    client.close()


def test_a_claim_that_failed_is_not_made_when_the_server_resumes(server: LateServer) -> None:
    server.start()
    assert server.process is not None
    protocol = get_protocol(server.uri)
    assert isinstance(protocol, OutboxProtocol)
    trial = protocol.new_trial(Trial(name="t"))
    assert trial is not None
    server.process.process.send_signal(signal.SIGSTOP)
    try:
        for tag in ("first", "second", "third"):
            update = {"method": "add_trial_tags", "arguments": {"tags": {tag: 1}}}
            with pytest.raises(CallTimeout, match="did not answer fetch_and_update_trial within"):
                protocol.outbox.call("fetch_and_update_trial", {"query": {}, "update": update}, timeout=0.3)
    finally:
        server.process.process.send_signal(signal.SIGCONT)
    protocol.flush()
    # The first was on its way already: an error after a timeout leaves open whether it was made.
    assert set((protocol.get_trial(trial) or [])[0].tags) <= {"first"}
    protocol.close()


def test_asking_an_unreachable_server_says_what_was_asked_and_what_to_do(
    server: LateServer,
) -> None:
    client = TrackClient(f"{server.uri}&timeout=0.3")
    wanted = (
        "no server answers at .*is it running, and is the address right.*{} had no answer within [0-9.]+ s"
    )
    with pytest.raises(ServerUnreachable, match=wanted.format("fetch_trials")):
        client.protocol.fetch_trials({})
    with pytest.raises(ServerUnreachable, match=wanted.format("fetch_and_update_trial")):
        client.protocol.fetch_and_update_trial({}, "set_trial_status", Status.Running)
    with pytest.raises(ServerUnreachable, match=wanted.format("get_project")):
        client.set_project(name="p", get_only=True)
    with pytest.raises(ServerUnreachable, match=wanted.format("get_trial")):
        client.set_trial(uid=f"{'0' * 64}_0")
