"""The provider `console`: lines for people to read."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from track.provider import RunConfig, tracker_from_config
from track_protocol.security.tokens import new_token

PROPERTIES = RunConfig(name="baseline", description="longer warm-up", hparams={"lr": 0.1})


def log_something(to: str) -> None:
    with tracker_from_config({"provider": "console", "to": to}).open(PROPERTIES) as run:
        run.scalar("ready", 1)
        run.set_step(0)
        run.set_context({"phase": "train"})
        run.scalar("loss", 1 / 3, {"split": "a"})
        run.bins("weights", [1.0, 2.0, float("nan")])
        run.bins("empty", [])


LINES = [
    "[baseline] longer warm-up",
    "[baseline] lr = 0.1",
    "[baseline] step 0 ready = 1",
    '[baseline] step 0 loss{phase="train",split="a"} = 0.333333',
    '[baseline] step 0 weights{phase="train"}: n=3 mean=1.5 sd=0.5 min=1 max=2 not finite=1',
    '[baseline] step 0 empty{phase="train"}: n=0',
    "[baseline] completed",
]


@pytest.mark.parametrize("to", ["stdout", "stderr"])
def test_values_are_written_with_their_step_and_labels(capsys: pytest.CaptureFixture[str], to: str) -> None:
    log_something(to)
    assert getattr(capsys.readouterr(), to.removeprefix("std")).splitlines() == LINES


def test_values_may_go_to_a_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="track.provider"):
        log_something("log")
    assert [record.getMessage() for record in caplog.records] == LINES


def test_no_token_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    token = new_token()
    properties = RunConfig(name="t", description=token, hparams={"uri": f"socket://ann:{token}@node1"})
    with tracker_from_config({"provider": "console"}).open(properties):
        pass
    out = capsys.readouterr().out
    assert token not in out
    assert "socket://ann:trk_***" in out


def test_an_exception_is_written_and_propagates(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(ValueError, match="too large"),
        tracker_from_config({"provider": "console"}).open(PROPERTIES),
    ):
        raise ValueError("too large")
    assert capsys.readouterr().out.splitlines()[-1] == "[baseline] failed: ValueError: too large"


def test_an_unwritable_value_is_reported_once_and_does_not_end_the_training(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracker_from_config({"provider": "console"}).open(RunConfig(name="n")) as run:
        run.scalar("loss", "high")  # type: ignore[arg-type] # what a caller without types may give
        run.bins("weights", object())
        run.scalar("loss", 1.0, {"no label": "a"})
        run.scalar("loss", 2.0)
    assert len(caplog.records) == 1
    assert capsys.readouterr().out.splitlines() == ["[n] started", "[n] step 0 loss = 2", "[n] completed"]


class Raises:
    """As a tensor of two elements does, or one that was donated."""

    def __float__(self) -> float:
        raise RuntimeError("a tensor with 2 elements is no scalar")

    def __iter__(self) -> Any:
        raise RuntimeError("it was deleted")


def test_a_value_that_raises_anything_does_not_end_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    with tracker_from_config({"provider": "console"}).open(RunConfig(name="n")) as run:
        run.scalar("loss", Raises())  # type: ignore[arg-type] # what a caller without types may give
        run.bins("weights", Raises())
        run.scalar("loss", 2.0)
    assert capsys.readouterr().out.splitlines() == ["[n] started", "[n] step 0 loss = 2", "[n] completed"]


def test_only_rank_0_writes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    log_something("stdout")
    assert capsys.readouterr().out == ""


def test_the_state_is_empty() -> None:
    tracker = tracker_from_config({"provider": "console"})
    tracker.load_state_dict({"trial_id": "of another provider"})
    assert tracker.state_dict() == {}
