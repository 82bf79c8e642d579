"""What a training prints goes to its trial, and to the terminal as ever."""
# ruff: noqa: T201  # what is printed is what is tested

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from track import TrackClient
from track.logger import TrialLogger
from track.recording.capture import OutputCapture, output_names
from track_protocol.errors import UsageError
from track_protocol.model.entities import Status, Trial
from track_protocol.security.tokens import new_token
from waiting import wait_until


@pytest.fixture
def client() -> Iterator[TrackClient]:
    with TrackClient("ephemeral:") as made:
        yield made


def divide() -> None:
    print("dividing")
    raise ZeroDivisionError


def metadata_of(client: TrackClient) -> dict[str, Any]:
    assert client.trial is not None
    return printed_of((client.protocol.get_trial(client.trial) or [])[0])


def printed_of(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in trial.metadata.items() if name.startswith(("out", "err"))}


def test_the_last_lines_are_captured_and_still_printed(
    client: TrackClient, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.stdout, sys.stderr
    with client.new_trial() as trial:
        trial.capture_output(2)
        for line in "abc":
            print(line)
        print("careful", file=sys.stderr)
    assert metadata_of(client) == {"out": ["b", "c"], "err": ["careful"]}
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("a\nb\nc\n", "careful\n")


def test_a_line_that_is_cut_has_no_part_of_a_token(client: TrackClient) -> None:
    # Fails when `_bounded` cuts a line before tokens in it are redacted.
    token = new_token()
    with client.new_trial() as trial:
        trial.capture_output(2)
        print("." * 1_000 + token + "." * 1_980)
    (line,) = metadata_of(client)["out"]
    assert token[-15:] not in line
    assert "*" * 15 in line


def test_capturing_may_begin_before_the_trial_and_does_not_create_it(client: TrackClient) -> None:
    trial = client.new_trial()
    trial.capture_output()
    print("early")
    assert trial._output is not None
    trial._output.save()
    assert client.protocol.fetch_trials({}) == []
    trial.log_arguments(lr=0.1)
    with trial:
        print("late")
    assert metadata_of(client) == {"out": ["early", "late"]}


def test_what_is_printed_is_stored_while_the_trial_runs(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output()
        print("running")
        wait_until(lambda: metadata_of(client) == {"out": ["running"]}, "the output is stored")


def test_it_is_stored_when_an_exception_or_a_finish_ends_the_trial(client: TrackClient) -> None:
    trial = client.new_trial()
    trial.capture_output()
    with pytest.raises(ZeroDivisionError), trial:
        divide()
    assert metadata_of(client) == {"out": ["dividing"]}
    trial = client.new_trial(force=True)
    trial.capture_output()
    trial.start()
    print("explicitly")
    trial.finish()
    assert metadata_of(client) == {"out": ["explicitly"]}
    assert client.protocol.fetch_trials({"status": Status.Running}) == []


def test_a_progress_bar_is_captured_as_displayed(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output(3)
        for percent in range(0, 101, 50):
            sys.stderr.write(f"\r{percent:3d}%")
            sys.stderr.flush()
        sys.stderr.write("\ndone\n")
    assert metadata_of(client) == {"err": ["100%", "done"]}


def test_loggers_that_were_set_up_before_are_captured(client: TrackClient) -> None:
    logger = logging.getLogger("test_capture")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    before = handler.stream
    try:
        with client.new_trial() as trial:
            trial.capture_output()
            logger.warning("the loss is nan")
        assert metadata_of(client) == {"err": ["the loss is nan"]}
        assert handler.stream is before
    finally:
        logger.removeHandler(handler)


def test_a_later_replacement_of_the_stream_stays(client: TrackClient) -> None:
    trial = client.new_trial()
    other = io.StringIO()
    with trial:
        trial.capture_output()
        with contextlib.redirect_stdout(other):
            trial.finish()
            assert sys.stdout is other
        print("still works")
    assert "out" not in metadata_of(client)


def test_two_trials_may_capture_at_once(client: TrackClient) -> None:
    first = client.new_trial()
    second = client.new_trial(force=True)
    before = sys.stdout
    for trial in (first, second):
        trial.start()
        trial.capture_output()
    print("both")
    first.finish()
    print("one")
    second.finish()
    sys.stdout = before
    found = [printed_of((client.protocol.get_trial(each.trial) or [])[0]) for each in (first, second)]
    assert found == [{"out": ["both"]}, {"out": ["both", "one"]}]


def test_a_stream_that_fails_fails_as_without_capturing(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with client.new_trial() as trial:
        trial.capture_output()
        with pytest.raises(ValueError, match="closed"):
            print("lost")
    assert sys.stdout is closed


def test_without_a_standard_output_lines_are_only_captured(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with client.new_trial() as trial:
        trial.capture_output()
        print("under pythonw")
    assert metadata_of(client) == {"out": ["under pythonw"]}


def test_lines_are_shortened_and_text_that_has_no_utf8_is_escaped(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output(100)
        sys.stdout.writelines(["x" * 100_000 + "\n"] * 60 + ["odd \ud800\n"])
    lines = metadata_of(client)["out"]
    assert lines[-1] == "odd \\ud800"
    assert {len(line) for line in lines[:-1]} == {2_000}
    assert sum(map(len, lines)) <= 64 * 1024


def test_each_rank_has_names_of_its_own(client: TrackClient) -> None:
    assert [output_names(rank) for rank in (None, 0, 3)] == [
        ("out", "err"),
        ("out", "err"),
        ("out_3", "err_3"),
    ]
    stored = client.new_trial().ensure()
    with TrialLogger(stored, client.protocol, rank=3) as trial:
        trial.capture_output()
        print("of the third")
    assert metadata_of(client)["out_3"] == ["of the third"]


@contextlib.contextmanager
def held(lock: threading.RLock) -> Iterator[None]:
    """Another thread has the lock meanwhile."""
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            ready.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait()
    try:
        yield
    finally:
        done.set()
        holder.join()


def test_a_forked_child_can_print_though_another_thread_printed_at_that_moment(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output()
        output = trial._output
        assert output is not None
        with held(output._streams[0]._lock), held(output._lock):
            child = os.fork()
            if child == 0:
                print("in the child")
                output.end()
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("in the parent")
    assert metadata_of(client) == {"out": ["in the parent"]}


def test_a_signal_handler_does_not_wait_forever_for_the_interrupted_thread(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output()
        output = trial._output
        assert output is not None
        print("waits")
        with held(output._lock):
            output.save()
            assert printed_of((client.protocol.get_trial(trial.trial) or [])[0]) == {}
    assert metadata_of(client) == {"out": ["waits"]}


def test_a_second_call_continues_the_first_capture(client: TrackClient) -> None:
    with client.new_trial() as trial:
        trial.capture_output(5)
        print("one")
        trial.capture_output(1)
        print("two")
    assert metadata_of(client) == {"out": ["one", "two"]}


@pytest.mark.parametrize("lines", [0, -1, None, "all", 2.5])
def test_a_number_of_lines_that_is_none_is_warned_about(
    client: TrackClient, caplog: pytest.LogCaptureFixture, lines: Any
) -> None:
    with client.new_trial() as trial:
        trial.capture_output(lines)
        print("kept")
    assert "used instead: 50" in caplog.text
    assert metadata_of(client) == {"out": ["kept"]}


def test_a_failing_store_does_not_affect_printing(caplog: pytest.LogCaptureFixture) -> None:
    def store(lines: object) -> bool:
        raise UsageError("the client is closed")

    capture = OutputCapture(store, ("out", "err"), 5)
    capture.begin()
    print("printed")
    capture.end()
    assert sys.stdout not in capture._streams
    assert "the output of the program could not be stored: the client is closed" in caplog.text
