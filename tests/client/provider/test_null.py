"""The provider `null`: training without tracking, by the same code."""

from __future__ import annotations

import pytest

from track.provider import RunConfig, tracker_from_config


def test_everything_is_accepted_and_nothing_stored() -> None:
    tracker = tracker_from_config({"provider": "null"})
    with tracker.open(RunConfig(name="n", hparams={"lr": 0.1})) as run:
        run.set_step(1)
        run.set_context({"phase": "train"})
        run.scalar("loss", 1.0, {"split": "a"})
        run.bins("weights", [1.0])
    assert tracker.state_dict() == {}


def test_an_exception_propagates() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        tracker_from_config({"provider": "null"}).open(RunConfig(name="n")),
    ):
        raise ZeroDivisionError


def test_the_state_of_another_provider_loads() -> None:
    tracker_from_config({"provider": "null"}).load_state_dict({"run_hash": "abc"})
