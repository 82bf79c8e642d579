from __future__ import annotations

import datetime
import json
import math
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track.serialization import (
    SerializerAspect,
    SerializerChronoContext,
    SerializerTrial,
    SerializerTrialGroup,
    add_serializer,
    from_json,
    step_from_key,
    step_to_key,
    to_json,
)
from track_protocol.errors import BadArguments
from track_protocol.model.aggregators import (
    RingAggregator,
    StatAggregator,
    TimeSeriesAggregator,
    ValueAggregator,
)
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup
from track_protocol.model.stat import StatStream, Summary

REPORT = """{
  "revision": 1,
  "name": "a trial",
  "description": "for a test",
  "version": "a8c3",
  "tags": {
    "workers": 8,
    "hpo": "byopt"
  },
  "parameters": {
    "batch_size": 32,
    "cuda": true,
    "lr": 0.1,
    "break_after": null
  },
  "metadata": {},
  "metrics": {
    "epoch_loss": {
      "0": 2.5,
      "1": 2.25
    },
    "accuracy": [
      0.5,
      0.75
    ]
  },
  "chronos": {
    "runtime": 3142.5,
    "batch_time": {
      "avg": 0.75,
      "min": 0.5,
      "max": 1.0,
      "sd": 0.25,
      "count": 2,
      "unit": "s"
    }
  },
  "errors": [],
  "status": {
    "value": 302,
    "name": "Completed"
  }
}"""


def timings() -> StatAggregator:
    stat = StatAggregator(1)
    for seconds in (9.0, 0.5, 1.0):
        stat.append(seconds)
    return stat


def runtime() -> ValueAggregator:
    value = ValueAggregator()
    value.append(3142.5)
    return value


def a_trial(**fields: Any) -> Trial:
    return Trial(
        revision=1,
        name="a trial",
        description="for a test",
        version="a8c3",
        tags={"workers": 8, "hpo": "byopt"},
        group_id="g",
        project_id="p",
        parameters={"batch_size": 32, "cuda": True, "lr": 0.1, "break_after": None},
        metadata={"_last_change": 1, "_update_count": 2, "heartbeat": 3},
        metrics={"epoch_loss": {0: 2.5, 1: 2.25}, "accuracy": [0.5, 0.75]},
        chronos={"runtime": runtime(), "batch_time": timings()},
        status=Status.Completed,
        id=bytes(range(16)),
        **fields,
    )


def test_a_trial_in_short_is_the_documented_report() -> None:
    assert json.dumps(to_json(a_trial(), short=True), indent=2) == REPORT


def test_a_report_round_trips() -> None:
    report = json.loads(REPORT)
    assert to_json(from_json(report, dtype="trial"), short=True) == report


def test_a_trial_in_full_begins_with_its_identity() -> None:
    trial = a_trial()
    full = to_json(trial)
    assert list(full.items())[:6] == [
        ("dtype", "trial"),
        ("uid", trial.uid),
        ("hash", trial.hash),
        ("id", bytes(range(16)).hex()),
        ("project_id", "p"),
        ("group_id", "g"),
    ]


def test_the_full_form_of_a_trial_has_its_internal_fields() -> None:
    assert set(to_json(a_trial())["metadata"]) == SerializerTrial.ignore_meta


def test_the_short_form_leaves_out_the_documented_fields() -> None:
    assert SerializerTrial.ignore_short == {"uid", "hash", "dtype", "project_id", "group_id"}
    assert SerializerTrial.ignore_meta == {"_last_change", "_update_count", "heartbeat"}


def test_a_trial_round_trips_through_its_full_json() -> None:
    trial = a_trial()
    full = json.loads(json.dumps(to_json(trial)))
    again = from_json(full)
    assert (to_json(again), again.uid, again.id) == (full, trial.uid, trial.id)


def test_restored_timings_continue() -> None:
    again = from_json(to_json(a_trial())).chronos["batch_time"]
    again.append(1.5)
    assert (again.avg, again.count) == (1.0, 3)


def test_steps_are_restored_as_numbers() -> None:
    trial = from_json(to_json(Trial(metrics={"loss": {0: 1.0, 0.5: 2.0, "end": 3.0, (1, 2): 4.0, "7": 5.0}})))
    assert trial.metrics["loss"] == {0: 1.0, 0.5: 2.0, "end": 3.0, (1, 2): 4.0, "7": 5.0}


def test_a_step_of_numpy_is_a_number() -> None:
    assert to_json(Trial(metrics={"loss": {np.int64(3): np.float32(0.5)}}))["metrics"] == {"loss": {"3": 0.5}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (TimeSeriesAggregator(), []),
        (RingAggregator(2), []),
        (timings(), timings().to_json(short=True)),
        ([1.0, 2.0], [1.0, 2.0]),
        (0.5, 0.5),
    ],
)
def test_metrics_are_written_by_their_aggregator(values: Any, expected: Any) -> None:
    assert to_json(Trial(metrics={"m": values}), short=True)["metrics"] == {"m": expected}


def test_a_parameter_called_dtype_is_data() -> None:
    trial = Trial(parameters={"dtype": "trial", "model": {"dtype": "project"}})
    assert from_json(to_json(trial)).parameters == trial.parameters


def test_a_dict_with_a_dtype_of_its_own_stays_a_dict() -> None:
    assert from_json({"dtype": "float16", "a": [{"dtype": "status"}]}) == {
        "dtype": "float16",
        "a": [{"dtype": "status"}],
    }


@pytest.mark.parametrize("short", [False, True])
def test_a_group_round_trips(short: bool) -> None:
    group = TrialGroup(name="idea", description="d", metadata={"a": 1}, trials={"t2", "t1"}, project_id="p")
    written = to_json(group, short)
    assert written["trials"] == ["t1", "t2"]
    assert to_json(from_json(written, "trial_group"), short) == written


@pytest.mark.parametrize("short", [False, True])
def test_a_project_round_trips(short: bool) -> None:
    project = Project(name="paper", metadata={"a": 1}, groups={"g"}, trials={"t2", "t1"})
    written = to_json(project, short)
    assert to_json(from_json(written, "project"), short) == written


def test_members_that_are_objects_round_trip_as_objects() -> None:
    trials = {Trial(name="a"), Trial(name="b")}
    project = Project(name="p", groups={TrialGroup(name="g", trials=trials)}, trials=trials)
    written = json.loads(json.dumps(to_json(project)))
    again = from_json(written)
    assert (again.trials, to_json(again)) == (trials, written)


def test_a_uid_stays_a_uid() -> None:
    assert SerializerTrialGroup.maybe_unflatten("t1") == "t1"


@pytest.mark.parametrize("status", [Status.Completed, Status.Running, CustomStatus("Paused", 310)])
def test_a_status_round_trips(status: Status | CustomStatus) -> None:
    assert from_json(to_json(status), "status") == status


def test_a_trial_without_a_status_round_trips() -> None:
    assert from_json(to_json(Trial(status=None))).status is None


def test_times_are_seconds_since_the_epoch_and_read_back_in_utc() -> None:
    moment = datetime.datetime(2020, 1, 10, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    assert to_json({"at": moment}) == {"at": 1578607200.0}
    assert from_json(to_json(moment), "datetime") == moment
    assert from_json(moment.isoformat(), "datetime") == moment


def test_a_time_without_a_zone_is_utc() -> None:
    assert to_json(datetime.datetime(1970, 1, 1, 0, 1)) == 60.0  # noqa: DTZ001 - it is what is tested


def test_a_uuid_is_text_that_can_be_read_again() -> None:
    name = uuid.UUID(int=7)
    assert from_json(to_json(name), "uuid") == name


def test_the_documented_name_of_statistics_is_read() -> None:
    stream = StatStream(0)
    stream.update(1.0)
    document = to_json(stream) | {"dtype": "statstream"}
    assert from_json(document).avg == from_json(document, "statstream").avg == 1.0


def test_statistics_round_trip() -> None:
    stream = StatStream(0)
    stream.update(1.0)
    assert from_json(to_json(stream)).state_dict() == stream.state_dict()
    assert to_json(stream, short=True) == stream.to_dict()


def test_a_summary_is_written_by_its_attributes() -> None:
    assert to_json(Summary.of([1.0, 3.0])) == Summary.of([1.0, 3.0]).to_dict()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ({3, 1}, [1, 3]),
        ({"b", "a"}, ["a", "b"]),
        ((1, (2, 3)), [1, [2, 3]]),
        (b"\x01", "01"),
        (
            {1: "a", (1, 2): "b", 0.5: "c", None: "d", "x": "e"},
            {"1": "a", "[1,2]": "b", "0.5": "c", "null": "d", "x": "e"},
        ),
        (np.zeros(70_000), str(np.zeros(70_000))),
        (1j, "1j"),
        (math.inf, math.inf),
    ],
)
def test_any_value_has_a_json_form(value: Any, expected: Any) -> None:
    written = to_json(value)
    assert (written, json.loads(json.dumps(written))) == (expected, expected)


def test_nan_stays_a_float() -> None:
    assert math.isnan(to_json({"loss": math.nan})["loss"])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60)
@given(json_values)
def test_plain_json_round_trips(value: Any) -> None:
    assert to_json(from_json(value)) == value


@settings(max_examples=40)
@given(
    st.dictionaries(st.text(max_size=6), json_values, max_size=3),
    st.dictionaries(
        st.text(max_size=6),
        st.dictionaries(
            st.integers() | st.floats(allow_nan=False) | st.text(max_size=6), st.floats(), max_size=3
        ),
        max_size=3,
    ),
)
def test_any_trial_round_trips_through_the_text_of_its_json(
    parameters: dict[str, Any], metrics: dict[str, Any]
) -> None:
    text = json.dumps(to_json(Trial(parameters=parameters, metrics=metrics)))
    assert json.dumps(to_json(from_json(json.loads(text)))) == text


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([], "trial"),
        ({"id": "xyz"}, "trial"),
        ({"tags": 5}, "trial"),
        ({"status": {"name": "Paused"}}, "trial"),
        ({"trials": [["t"]]}, "trial_group"),
        ({"groups": 5}, "project"),
        ({}, "stat_stream"),
        ("yesterday", "datetime"),
        (5, "uuid"),
    ],
)
def test_json_of_something_else_is_refused(value: Any, dtype: str) -> None:
    with pytest.raises(BadArguments, match=f"not the JSON of a {dtype}"):
        from_json(value, dtype)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(BadArguments, match="'float16' is not known"):
        from_json({}, "float16")


def test_a_running_timer_is_written_as_its_aggregator() -> None:
    class Timer:
        acc = timings()

    class Precise(Timer):
        pass

    add_serializer(Timer, SerializerChronoContext())
    assert to_json({"t": Precise()}, short=True) == {"t": timings().to_json(short=True)}


def test_the_base_aspect_does_not_change_values() -> None:
    aspect = SerializerAspect()
    assert (aspect.to_json(5), aspect.from_json(5)) == (5, 5)


# -- keys of steps ---------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10)
awkward = st.sampled_from(
    ["1", "-0", "01", "1e5", "NaN", "nan", "[1]", '"1"', '"a"', "null", "{}", " 1", "[[", '"']
)
steps = st.recursive(scalars | awkward, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)


def exact(step: Any) -> Any:
    """Distinguishes 1, 1.0 and True, and 0.0 from -0.0, as == does not."""
    return [exact(part) for part in step] if isinstance(step, tuple) else (type(step), repr(step))


@given(steps)
def test_a_step_round_trips_through_its_key(step: Any) -> None:
    assert exact(step_from_key(step_to_key(step))) == exact(step)


@given(st.text(max_size=10) | awkward | steps.map(json.dumps))
def test_a_key_round_trips_through_its_step(key: str) -> None:
    assert step_to_key(step_from_key(key)) == key


@pytest.mark.parametrize(
    ("step", "key"),
    [
        (0, "0"),
        (12, "12"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        ("1", '"1"'),
        ("warmup", "warmup"),
        ((1, "a", 0.5), '[1,"a",0.5]'),
        (True, "true"),
        ("true", '"true"'),
        (math.inf, "Infinity"),
    ],
)
def test_steps_are_written_as_a_reader_expects(step: Any, key: str) -> None:
    assert step_to_key(step) == key


def test_a_nan_step_round_trips() -> None:
    assert math.isnan(step_from_key(step_to_key(math.nan)))


@pytest.mark.parametrize("key", ["9" * 4097, "9" * 4300 + "1", "[" * 4000, '{"a":1}'])
def test_a_key_that_is_not_a_step_stays_text(key: str) -> None:
    assert step_from_key(key) == key
