"""Forks, spawned processes and the end of a process, with a real store and real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from running_server import environment
from track import TrackClient
from track.process.lifecycle import ForkSafeRLock
from track.spool.folder import spools_in

HEAD = """
import multiprocessing, os, sys, threading
from track import TrackClient
"""


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of its own; it must end well."""
    path = folder / "script.py"
    path.write_text(HEAD + textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def stored(folder: Path) -> dict[str, list[float]]:
    """The values of every series of the only trial."""
    with TrackClient(f"sqlite:{folder / 'runs.db'}") as client:
        (trial,) = client.protocol.fetch_trials({})
        return {name: list(client.protocol.fetch_metrics(trial, name).values) for name in trial.metrics}


def numbers(count: int) -> list[float]:
    return [float(number) for number in range(count)]


@pytest.mark.parametrize("uri", ["sqlite:runs.db", "file:runs.json"])
def test_a_program_that_changes_its_folder_stays_with_its_store(tmp_path: Path, uri: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    run(
        f"""
        client = TrackClient({uri!r})
        trial = client.new_trial("t", arguments={{"a": 1}})
        trial.log_metrics(loss=0.0)
        client.save()
        os.chdir("elsewhere")
        if os.fork() == 0:
            trial.log_metrics(loss=1.0)
            client.save()
            os._exit(0)
        os.wait()
        client.close()
        trial.log_metrics(loss=2.0)
        client.close()
        """,
        tmp_path,
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with TrackClient(uri.replace(":", f":{tmp_path}/")) as client:
        (trial,) = client.protocol.fetch_trials({})
        assert list(client.protocol.fetch_metrics(trial, "loss").values) == [0.0, 1.0, 2.0]


def test_what_is_logged_last_is_saved_at_exit(tmp_path: Path) -> None:
    run(
        """
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={"a": 1})
        for number in range(1000):
            trial.log_metrics(loss=float(number))
        """,
        tmp_path,
    )
    assert stored(tmp_path) == {"loss": numbers(1000)}


def test_what_is_logged_before_an_exception_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        HEAD
        + textwrap.dedent(
            """
            trial = TrackClient("sqlite:runs.db").new_trial(arguments={"a": 1})
            with trial:
                trial.log_metrics(loss=0.0)
                raise ArithmeticError("diverged")
            """
        )
    )
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        (trial,) = client.protocol.fetch_trials({"status": "Exception"})
    assert "ArithmeticError: diverged" in trial.errors[0]
    assert stored(tmp_path) == {"loss": [0.0]}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_logger_continues_in_a_child_process_and_in_its_parent(method: str, tmp_path: Path) -> None:
    run(
        f"""
        def work(trial):
            for number in range(1000):
                trial.log_metrics(child=float(number))

        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            trial = TrackClient("sqlite:runs.db").new_trial(arguments={{"a": 1}})
            for number in range(500):
                trial.log_metrics(parent=float(number))
            children = context.Process(target=work, args=(trial,))
            children.start()
            for number in range(500, 1000):
                trial.log_metrics(parent=float(number))
            children.join()
            assert children.exitcode == 0
        """,
        tmp_path,
    )
    assert stored(tmp_path) == {"parent": numbers(1000), "child": numbers(1000)}


def test_what_a_child_process_logs_while_it_imports_its_program_is_saved(tmp_path: Path) -> None:
    run(
        """
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={"process": __name__})
        trial.log_metrics(loss=1.0)

        if __name__ == "__main__":
            child = multiprocessing.get_context("forkserver").Process(target=len, args=("",))
            child.start()
            child.join()
        """,
        tmp_path,
    )
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        found = {
            trial.parameters["process"]: trial.metrics["loss"] for trial in client.protocol.fetch_trials({})
        }
    assert found == {"__main__": [1.0], "__mp_main__": [1.0]}


def test_a_bare_fork_sends_nothing_of_its_parent(tmp_path: Path) -> None:
    run(
        """
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={"a": 1})
        for number in range(1000):
            trial.log_metrics(parent=float(number))
        child = os.fork()
        if child == 0:
            trial.log_metrics(child=0.0)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        tmp_path,
    )
    assert stored(tmp_path) == {"parent": numbers(1000), "child": [0.0]}


def test_many_forks_while_threads_log_hang_nowhere(tmp_path: Path) -> None:
    run(
        """
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={"a": 1})
        done = threading.Event()

        def log():
            while not done.is_set():
                trial.log_metrics(parent=1.0)
                done.wait(0.0005)

        threading.Thread(target=log).start()
        for number in range(5):
            child = os.fork()
            if child == 0:
                trial.log_metrics(child=float(number))
                trial.protocol.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        """,
        tmp_path,
    )
    assert stored(tmp_path)["child"] == numbers(5)


def test_what_cannot_be_saved_at_exit_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run(
        """
        import track.process.lifecycle
        from memory_link import MemoryStore
        from track.outbox import Outbox

        track.process.lifecycle.EXIT_SECONDS = 0.3
        store = MemoryStore(unreachable=True)
        outbox = Outbox(store.link, "the store")
        for number in range(1234):
            outbox.writer(b"t" * 16)(number, {"loss": 1.0})
        """,
        tmp_path,
    )
    assert done.stderr.startswith("1,234 log calls were not saved: memory store: unreachable")
    assert done.stderr.count("\n") == 1


def test_what_has_no_room_on_disk_at_exit_is_reported_with_what_has(tmp_path: Path) -> None:
    # Fails when `LocalDurability.report_unsent` says nothing of the folder that holds a part.
    done = run(
        """
        os.environ["TRACK_SPOOL"] = os.path.abspath("spool")
        client = TrackClient("socket://localhost:1?timeout=0.2&spool_limit=1M")
        trial = client.new_trial(arguments={"a": 1})
        for number in range(200_000):
            trial.log_metrics(loss=float(number))
        """,
        tmp_path,
    )
    (left,) = spools_in(tmp_path / "spool")
    (message,) = [line for line in done.stderr.splitlines() if "only a part" in line]
    assert message.startswith("of 200,0")
    assert message.endswith(
        f"only a part is queued in {left}: the next start on this machine sends that part, or send now "
        f"with: track sync {left}"
    )


@pytest.mark.parametrize("last", ["", "client.save()"], ids=["logged", "saved each time"])
def test_what_an_exit_function_logs_behind_the_flush_is_saved(last: str, tmp_path: Path) -> None:
    # Fails when `Outbox._wake` does not save what comes after `_Registry.on_exit`.
    run(
        f"""
        import atexit

        def log_late():
            for number in range(10):
                trial.log_metrics(late=float(number))
                {last}

        atexit.register(log_late)  # before there is a client, so that it runs behind its flush
        client = TrackClient("sqlite:runs.db")
        trial = client.new_trial(arguments={{"a": 1}})
        trial.log_metrics(loss=1.0)
        """,
        tmp_path,
    )
    assert stored(tmp_path) == {"loss": [1.0], "late": numbers(10)}


def test_an_interrupt_ends_the_wait_at_exit_for_all_clients_and_reports_what_is_retained(
    tmp_path: Path,
) -> None:
    # Fails when `_Registry.on_exit` lets a KeyboardInterrupt through, or `Outbox.on_exit` does not catch it.
    done = run(
        """
        import atexit, signal

        os.environ["TRACK_SPOOL"] = os.path.abspath("spool")
        clients = [TrackClient("socket://localhost:1?timeout=40") for _ in range(2)]
        for client in clients:
            client.new_trial(arguments={"a": 1}).log_metrics(loss=1.0)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.5)
        """,
        tmp_path,
    )
    assert "Traceback" not in done.stderr
    assert done.stderr.count(f", but queued in {tmp_path / 'spool'}") == 2
    assert len(list(spools_in(tmp_path / "spool"))) == 2


def test_an_interrupt_before_the_exit_still_has_everybody_leave(tmp_path: Path) -> None:
    # Fails when `_Registry.on_exit` lets a KeyboardInterrupt of `before_exit` through.
    done = run(
        """
        from track.process.lifecycle import LifecycleHook, register

        class Hook(LifecycleHook):
            def __init__(self, name):
                self.name = name
                register(self)

            def before_fork(self):
                pass

            after_fork_in_parent = after_fork_in_child = before_fork

            def before_exit(self):
                print(self.name, "is about to leave")
                if self.name == "first":
                    raise KeyboardInterrupt

            def on_exit(self, seconds):
                print(self.name, "leaves within", seconds)

        hooks = [Hook("first"), Hook("second")]
        """,
        tmp_path,
    )
    assert "Traceback" not in done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "first is about to leave",
        "first leaves within 0.0",
        "second is about to leave",
        "second leaves within 0.0",
    ]


def test_threads_may_fork_at_the_same_time(tmp_path: Path) -> None:
    run(
        """
        import faulthandler
        faulthandler.dump_traceback_later(30, exit=True)
        client = TrackClient("sqlite:runs.db")
        trial = client.new_trial(arguments={"a": 1})
        trial.log_metrics(loss=-1.0)

        def fork():
            for _ in range(10):
                trial.log_metrics(loss=1.0)
                child = os.fork()
                if child == 0:
                    os._exit(0)
                os.waitpid(child, 0)

        threads = [threading.Thread(target=fork) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
        tmp_path,
    )
    assert stored(tmp_path)["loss"] == [-1.0] + [1.0] * 30


def test_only_the_outermost_block_of_a_thread_says_so() -> None:
    lock = ForkSafeRLock()
    with lock as outer, lock as inner:
        assert (outer, inner) == (True, False)
    with lock as again:
        assert again


def test_another_thread_waits() -> None:
    lock, order = ForkSafeRLock(), list[str]()

    def drain() -> None:
        with lock as outermost:
            assert outermost
            order.append("second")

    with lock:
        thread = threading.Thread(target=drain)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_forked_child_finds_it_free() -> None:
    lock, drained, done = ForkSafeRLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            drained.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert drained.wait(10)
    pid = os.fork()
    if not pid:
        found = []

        def drain() -> None:
            with lock as outermost:
                found.append(outermost)

        child = threading.Thread(target=drain, daemon=True)
        child.start()
        child.join(5)
        os._exit(0 if found == [True] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    done.set()
    thread.join()


@pytest.mark.parametrize("failing", ["before_fork", "after_fork_in_parent", "after_fork_in_child"])
def test_a_hook_that_raises_leaves_no_lock_held(failing: str, tmp_path: Path) -> None:
    # Fails when `_Registry` does not continue after a hook that raises: the next fork then waits forever.
    run(
        f"""
        from track.process.lifecycle import LifecycleHook, register
        class Hook(LifecycleHook):
            def before_fork(self): self.raises("before_fork")
            def after_fork_in_parent(self): self.raises("after_fork_in_parent")
            def after_fork_in_child(self): self.raises("after_fork_in_child")
            def on_exit(self, timeout): pass
            def raises(self, name):
                if name == {failing!r}: raise MemoryError(name)
        hooks = [Hook() for _ in range(8)]
        for hook in hooks[:4]: register(hook)
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={{"a": 1}})
        for hook in hooks[4:]: register(hook)
        trial.log_metrics(loss=0.0)
        def fork():
            child = os.fork()
            if child == 0:
                trial.log_metrics(loss=1.0)
                trial.protocol.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        fork()
        thread = threading.Thread(target=fork, daemon=True)
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
        """,
        tmp_path,
    )
    assert sorted(stored(tmp_path)["loss"]) == [0.0, 1.0, 1.0]


def test_a_hook_that_raises_at_the_end_does_not_stop_the_others(tmp_path: Path) -> None:
    # Fails when `_Registry.on_exit` does not continue after a hook that raises.
    run(
        """
        from track.process.lifecycle import register
        class Hook:
            def before_fork(self): pass
            after_fork_in_parent = after_fork_in_child = before_exit = before_fork
            def on_exit(self, timeout): raise MemoryError("no memory")
        hooks = [Hook() for _ in range(8)]
        for hook in hooks[:4]: register(hook)
        trial = TrackClient("sqlite:runs.db").new_trial(arguments={"a": 1})
        for hook in hooks[4:]: register(hook)
        trial.log_metrics(loss=0.0)
        """,
        tmp_path,
    )
    assert stored(tmp_path) == {"loss": [0.0]}
