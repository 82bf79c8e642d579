"""`track.config` and `track.summary`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

import track


def parameters() -> dict[str, object]:
    (trial,) = track.runs()
    return trial.parameters


def test_a_parameter_is_an_item_and_an_attribute() -> None:
    track.init(config={"lr": 0.1, "model": {"width": 64}})
    assert track.config.lr == track.config["lr"] == 0.1
    assert track.config.model["width"] == 64
    assert track.config.get("none", 5) == 5
    assert dict(track.config) == track.config.as_dict() == {"lr": 0.1, "model": {"width": 64}}


def test_a_parameter_that_there_is_not_is_an_attribute_error() -> None:
    track.init(config={"lr": 0.1})
    with pytest.raises(AttributeError, match="no value 'wd': it has lr"):
        _ = track.config.wd
    assert not hasattr(track.config, "wd")


def test_parameters_may_be_set_later() -> None:
    track.init(config={"lr": 0.1})
    track.config.epochs = 3
    track.config["seed"] = 1
    track.config.update({"a": 1}, b=2)
    track.config.update(argparse.Namespace(c=3))
    track.config.setdefaults({"lr": 5, "d": 4})
    track.finish()
    assert parameters() == {"lr": 0.1, "epochs": 3, "seed": 1, "a": 1, "b": 2, "c": 3, "d": 4}


def test_a_parameter_keeps_its_value_unless_it_may_change() -> None:
    track.init(config={"lr": 0.1})
    track.config.update({"lr": 0.2})
    assert track.config.lr == 0.1
    track.config.update({"lr": 0.3}, allow_val_change=True)
    assert track.config.lr == 0.3
    track.finish()
    assert parameters() == {"lr": 0.3}


def test_looking_at_them_begins_no_run(tmp_path: Path) -> None:
    assert (repr(track.config), dict(track.summary), len(track.config)) == ("None", {}, 0)
    assert not hasattr(track.config, "_repr_html_")
    assert not hasattr(track.config, "lr")
    assert list(tmp_path.iterdir()) == []


def test_setting_one_before_a_run_begins_it() -> None:
    track.config.lr = 0.1
    track.finish()
    assert parameters() == {"lr": 0.1}


def test_after_the_end_they_are_those_of_the_last_run() -> None:
    track.init(config={"lr": 0.1})
    track.log({"loss": 1.0})
    track.finish()
    assert (track.config.lr, track.summary["loss"]) == (0.1, 1.0)
    track.summary["best"] = 0.9
    (trial,) = track.runs()
    assert trial.summary["best"] == 0.9


def test_what_gives_no_parameters_ends_no_training() -> None:
    track.init(config={"lr": 0.1})
    track.config.update(5, seed=1)
    track.finish()
    assert parameters() == {"lr": 0.1, "seed": 1}


def test_the_configuration_of_the_next_run_is_another() -> None:
    config = track.config
    track.init(config={"lr": 0.1})
    assert config.lr == 0.1
    track.init(config={"lr": 0.2})
    assert config.lr == 0.2


def test_the_summary_has_the_last_value_of_a_metric_and_what_was_set() -> None:
    with track.init() as run:
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        run.summary["best"] = 0.9
        run.summary.epoch = 5
        run.summary.update({"f1": 0.8})
        assert run.summary["loss"] == track.summary["loss"] == 1.0
        assert dict(run.summary) == {"loss": 1.0, "best": 0.9, "epoch": 5, "f1": 0.8}
    (trial,) = track.runs(filter="metadata.summary.best > 0.5")
    assert trial.metadata["summary"] == {"best": 0.9, "epoch": 5, "f1": 0.8}


def test_a_metric_may_be_set_in_the_summary() -> None:
    with track.init() as run:
        run.log({"loss": 2.0})
        run.summary["loss"] = 1.0
        run.log({"loss": 3.0})
        assert run.summary["loss"] == 1.0
    assert track.runs()[0].summary["loss"] == 1.0


def test_a_resumed_run_knows_its_summary() -> None:
    with track.init(project="p", id="r") as run:
        run.log({"loss": 2.0})
        run.summary["best"] = 0.9
    with track.init(project="p", id="r", resume="must") as run:
        assert dict(run.summary) == {"loss": 2.0, "best": 0.9}
