"""Children that are forked before their parent's trial exists: real processes on one store."""

from __future__ import annotations

from pathlib import Path

import pytest

from script_runner import ScriptRunner
from track import Status, TrackClient, Trial

FORKED = """
def forked(work):
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
"""


@pytest.fixture
def runner(tmp_path: Path) -> ScriptRunner:
    return ScriptRunner(tmp_path, f"sqlite:{tmp_path}/runs.db")


def ended(runner: ScriptRunner, script: str) -> None:
    with runner.script(FORKED + script + "\nready()", TRACK_CAPTURE="1") as process:
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints


def trials(runner: ScriptRunner) -> list[Trial]:
    with TrackClient(runner.uri) as client:
        return client.protocol.fetch_trials({})


def test_a_child_that_comes_first_logs_into_its_parents_trial(runner: ScriptRunner) -> None:
    script = """
def work():
    client.log_metrics(step=1, loss=1.0)
    client.add_tags(child=True)
    client.log_metadata(seen="by the child")
client.new_trial(name="shared", tags={"before": True})
forked(work)
client.log_arguments(lr=0.1)
client.add_tags(parent=True)
client.log_metrics(step=2, loss=2.0)
print(os.getpid(), file=open("pid", "w"))
"""
    ended(runner, script)
    trial, values = runner.trial()
    assert (trial.name, trial.status, trial.errors) == ("shared", Status.Completed, [])
    assert values["loss"] == [1.0, 2.0]
    assert trial.parameters == {"lr": 0.1}
    assert trial.tags == {"before": True, "child": True, "parent": True}
    assert trial.metadata["seen"] == "by the child"
    assert trial.metadata["run"]["pid"] == int((runner.folder / "pid").read_text())


def test_a_child_that_comes_second_adds_what_it_knows_and_replaces_nothing(runner: ScriptRunner) -> None:
    script = """
def work():
    sys.stdin.readline()
    client.log_metadata(mine="child's", both="child's")
    client.add_tags(child=True)
    client.log_arguments(lr=0.1)
    client.log_metrics(loss=1.0)
client.new_trial()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    sys.stdin = os.fdopen(reading)
    work()
    client.close()
    os._exit(0)
client.log_metadata(both="parent's")
client.log_arguments(lr=0.1)
client.log_metrics(loss=0.0)
client.save()
os.write(writing, b"\\n")
assert os.waitpid(child, 0)[1] == 0
print(os.getpid(), file=open("pid", "w"))
"""
    ended(runner, script)
    trial, values = runner.trial()
    assert values["loss"] == [0.0, 1.0]
    assert (trial.metadata["mine"], trial.metadata["both"]) == ("child's", "parent's")
    assert (trial.tags, trial.parameters, trial.errors) == ({"child": True}, {"lr": 0.1}, [])
    assert trial.metadata["run"]["pid"] == int((runner.folder / "pid").read_text())


def test_the_trial_runs_while_its_parent_does_though_a_child_has_ended(runner: ScriptRunner) -> None:
    # Fails when the end of a shared trial does not look for others who run it.
    script = f"""{FORKED}
def work():
    client.log_metrics(loss=1.0)
    sys.stdin.readline()
client.new_trial()
reading, writing = os.pipe()
def second():
    global client
    os.close(writing)
    sys.stdin = os.fdopen(reading)
    work()
child = multiprocessing.get_context("fork").Process(target=second)
child.start()
os.close(reading)
client.log_metrics(loss=2.0)
client.save()
os.write(writing, b"\\n")
os.close(writing)
child.join()
ready()
rest()
"""
    with runner.script(script):
        trial, values = runner.trial()
    assert trial.status is Status.Running
    assert sorted(values["loss"]) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("end", "status"), [("pass", Status.Completed), ("raise ArithmeticError", Status.Exception)]
)
def test_a_trial_that_only_a_child_runs_ends_with_it(runner: ScriptRunner, end: str, status: Status) -> None:
    script = f"""
def work():
    client.log_metrics(loss=1.0)
    {end}
client.new_trial(name="of the child")
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
    ended(runner, script)
    assert runner.trial()[0].status is status


def test_the_workers_of_a_pool_share_the_trial(runner: ScriptRunner) -> None:
    script = """
def work(number):
    client.log_metrics(step=number, loss=number)
client.new_trial(name="pool")
with multiprocessing.get_context("fork").Pool(3) as pool:
    pool.map(work, range(20), chunksize=1)
    pool.close()
    pool.join()
client.log_metrics(step=20, loss=20)
"""
    ended(runner, script)
    trial, values = runner.trial()
    assert (trial.status, sorted(values["loss"])) == (Status.Completed, list(range(21)))


def test_children_with_other_values_of_the_parameters_have_trials_of_their_own(runner: ScriptRunner) -> None:
    script = """
def work(lr):
    client.log_arguments(lr=lr)
    client.log_metrics(loss=lr)
client.new_trial(name="sweep")
for lr in (1, 2, 3, 3):
    forked(lambda: work(lr))
"""
    ended(runner, script)
    found = trials(runner)
    assert sorted(trial.parameters["lr"] for trial in found) == [1, 2, 3, 3]
    assert {trial.status for trial in found} == {Status.Completed}


def test_a_child_that_says_nothing_creates_nothing(runner: ScriptRunner) -> None:
    script = """
client.set_version("1")
client.new_trial(name="parent's")
forked(lambda: client.close())
client.log_arguments(lr=0.1)
"""
    ended(runner, script)
    found, _ = runner.trial()
    other = TrackClient("ephemeral:").set_version("1").new_trial("parent's", arguments={"lr": 0.1})
    assert found.hash == other.trial.hash  # the parameters came before it was created
