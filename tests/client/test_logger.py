"""The logger of one trial, over any storage protocol."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import pytest

from track.logger import TrialLogger
from track.persistence.protocol import Protocol
from track_protocol.errors import CallTimeout
from track_protocol.model.entities import Trial


class Recorder(Protocol):
    """Notes the calls it gets, by the documented names."""

    def __init__(self, uri: str = "") -> None:
        super().__init__(uri)
        self.calls: list[tuple[str, Any]] = []

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> Trial:
        self.calls.append(("start", None))
        return trial

    def log_trial_finish(self, trial: Trial, *args: Any) -> None:
        self.calls.append(("finish", args[0]))

    def log_trial_chrono_start(self, trial: Trial, name: str, *args: Any) -> None:
        self.calls.append(("chrono start", name))

    def log_trial_chrono_finish(self, trial: Trial, name: str, *args: Any) -> None:
        self.calls.append(("chrono finish", name))

    def log_trial_metrics(
        self, trial: Trial, /, step: Any = None, aggregator: Any = None, **kwargs: Any
    ) -> None:
        self.calls.append(("metrics", (step, kwargs)))

    def add_trial_tags(self, trial: Trial, /, **kwargs: Any) -> None:
        self.calls.append(("tags", (trial.name, kwargs)))

    def flush(self, timeout: float | None = None) -> None:
        self.calls.append(("flush", timeout))


STARTED = [("start", None), ("chrono start", "runtime")]


class Stuck(Recorder):
    """Never gets anything stored."""

    def flush(self, timeout: float | None = None) -> None:
        raise CallTimeout("the server did not answer")


def test_a_trial_starts_runs_finishes_and_is_saved() -> None:
    store = Recorder()
    with TrialLogger(Trial(), store) as trial:
        trial.log_metrics(3, loss=0.5)
    assert store.calls == [
        ("start", None),
        ("chrono start", "runtime"),
        ("metrics", (3, {"loss": 0.5})),
        ("chrono finish", "runtime"),
        ("finish", None),
        ("flush", None),
    ]


def test_a_store_that_is_stuck_does_not_fail_the_training(caplog: pytest.LogCaptureFixture) -> None:
    with TrialLogger(Trial(), Stuck()) as trial:
        trial.log_metrics(loss=0.5)
    assert "the trial is not saved yet: the server did not answer" in caplog.text


def test_a_blocked_store_does_not_hide_the_exception_of_the_training() -> None:
    with pytest.raises(ArithmeticError), TrialLogger(Trial(), Stuck()):
        raise ArithmeticError("diverged")


def test_a_trial_is_created_once_and_as_late_as_possible() -> None:
    created: list[Trial] = []

    def create(trial: Trial) -> Trial:
        created.append(trial)
        return trial

    trial = TrialLogger(Trial(), Recorder(), create=create)
    trial.add_tags(a=1)
    trial.log_metadata(b=2)
    assert not created
    trial.log_metrics(loss=0.5)
    trial.log_metrics(loss=0.4)
    trial.start()
    assert [(each.tags, each.metadata) for each in created] == [({"a": 1}, {"b": 2})]


def test_a_creation_that_failed_is_tried_again() -> None:
    failures = [ConnectionError("away")]

    def create(trial: Trial) -> Trial:
        if failures:
            raise failures.pop()
        return trial

    store = Recorder()
    trial = TrialLogger(Trial(), store, create=create)
    with pytest.raises(ConnectionError):
        trial.log_metrics(loss=0.5)
    trial.log_metrics(loss=0.4)
    assert store.calls == [*STARTED, ("metrics", (None, {"loss": 0.4}))]


def test_threads_that_log_first_wait_for_the_one_that_creates_it() -> None:
    store, made, go_on = Recorder(), threading.Event(), threading.Event()
    created: list[Trial] = []

    def create(trial: Trial) -> Trial:
        made.set()
        assert go_on.wait(10)
        created.append(trial)
        return Trial(name="stored", tags=dict(trial.tags))

    def log(number: int) -> None:
        logger.log_metrics(number, loss=0.5)
        logger.add_tags(**{f"tag{number}": 1})
        seen.append(logger.ensure())

    logger, seen = TrialLogger(Trial(), store, create=create), list[Trial]()
    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert made.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    assert [trial.name for trial in seen] == ["stored"] * 4
    assert sorted(call[1][0] for call in store.calls if call[0] == "metrics") == [0, 1, 2, 3]
    tagged = [call for call in store.calls if call[0] == "tags"]
    assert len(tagged) == 4


def test_records_logged_during_the_creation_follow_it() -> None:
    store = Recorder()

    def create(trial: Trial) -> Trial:
        # As a signal handler does.
        logger.log_metrics(1, loss=0.25)
        store.calls.append(("created", None))
        return trial

    logger = TrialLogger(Trial(), store, create=create)
    logger.log_metrics(2, loss=0.5)
    assert store.calls == [
        ("created", None),
        *STARTED,
        ("metrics", (1, {"loss": 0.25})),
        ("metrics", (2, {"loss": 0.5})),
    ]


def test_what_a_signal_handler_says_during_the_creation_follows_it() -> None:
    store = Recorder()

    def create(trial: Trial) -> Trial:
        logger.add_tags(a=1)
        store.calls.append(("created", None))
        return trial

    logger = TrialLogger(Trial(name="t"), store, create=create)
    logger.ensure()
    assert store.calls == [("created", None), ("tags", ("t", {"a": 1}))]


def test_a_logger_in_another_process_logs_into_the_same_trial() -> None:
    copy = pickle.loads(pickle.dumps(TrialLogger(Trial(name="t", id=b"t" * 16), Recorder())))  # noqa: S301 - pickled right here
    assert (copy.trial.name, copy.trial.id) == ("t", b"t" * 16)
