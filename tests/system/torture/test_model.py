"""Client, engine and store together, against plain Python: whatever is done, both agree."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import track_server.engine.jobs
from torture import count
from track.persistence import get_protocol
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Status, Trial
from track_protocol.wire.batch import METRIC, SUPERSEDED, PointsOp
from track_server.methods.dispatch import apply_op

NAMES = st.sampled_from(["loss", "accuracy", "rate"])
LABELS = st.sampled_from(["team", "site"])
STATUSES = st.sampled_from([Status.CreatedGroup, Status.Running, Status.Interrupted, Status.Completed])
INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
PLAIN = st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS
STEPS = st.none() | INTEGERS | st.floats(allow_nan=False) | TEXTS
ROWS = st.lists(
    st.tuples(STEPS, st.dictionaries(NAMES, st.booleans() | INTEGERS | st.floats(), min_size=1)), max_size=30
)


@dataclass
class Expected:
    """A trial as plain values."""

    trial: Trial
    parameters: dict[str, Any]
    status: Status = Status.CreatedGroup
    tags: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    series: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    superseded: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    rewinds: list[tuple[Any, int]] = field(default_factory=list)


def same(left: Any, right: Any) -> bool:
    """Equal, where NaN is itself, no bool is a number, and 1 is 1.0, for a column may be one of floats."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


def all_same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(left) == len(right) and all(map(same, left, right))


def is_later(at: Any, step: float) -> bool:
    return type(at) in (int, float) and math.isfinite(at) and at > step


class Machine(RuleBasedStateMachine):
    """What programs do with a store, in any order."""

    scheme: ClassVar[str]

    trials: Bundle[int] = Bundle("trials")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.uri = f"{self.scheme}:{self.folder.name}/runs"
        self.protocol = get_protocol(self.uri)
        self.model: list[Expected] = []

    def teardown(self) -> None:
        try:
            for number in range(len(self.model)):
                self.reads_back(number)
        finally:
            self.protocol.close()
            self.folder.cleanup()

    # -- what changes it -------------------------------------------------------------------------

    def create(self, parameters: dict[str, Any]) -> int:
        trial = self.protocol.new_trial(Trial(parameters=parameters), auto_increment=True)
        assert trial is not None
        alike = sum(each.trial.hash == trial.hash for each in self.model)
        assert trial.revision == alike
        self.model.append(Expected(trial, parameters))
        return len(self.model) - 1

    @initialize(target=trials)
    def begin(self) -> int:
        return self.create({})

    @rule(target=trials, parameters=st.dictionaries(st.sampled_from(["lr", "seed"]), INTEGERS))
    def new_trial(self, parameters: dict[str, Any]) -> int:
        return self.create(parameters)

    @rule(number=trials, rows=ROWS)
    def log_metrics(self, number: int, rows: list[tuple[Any, dict[str, Any]]]) -> None:
        expected = self.model[number]
        for step, values in rows:
            self.protocol.log_trial_metrics(expected.trial, step=step, **values)
            for name, value in values.items():
                expected.series.setdefault(name, []).append((step, value))

    @rule(
        number=trials, step=st.integers(-(2**62), 2**62) | st.integers(-10, 10) | st.floats(allow_nan=False)
    )
    def rewind(self, number: int, step: float) -> None:
        expected = self.model[number]
        self.protocol.rewind_trial(expected.trial, step)
        moved = 0
        for name, points in list(expected.series.items()):
            later = [is_later(at, step) for at, _ in points]
            remaining = [point for point, is_later in zip(points, later, strict=True) if not is_later]
            taken = [point for point, is_later in zip(points, later, strict=True) if is_later]
            expected.series[name] = remaining
            if not remaining:
                del expected.series[name]
            if taken:
                expected.superseded.setdefault(name, []).extend(taken)
            moved += len(taken)
        expected.rewinds.append((step, moved))

    @rule(number=trials, name=LABELS, value=PLAIN)
    def add_tag(self, number: int, name: str, value: Any) -> None:
        self.protocol.add_trial_tags(self.model[number].trial, **{name: value})
        self.model[number].tags[name] = value

    @rule(number=trials, name=LABELS, value=PLAIN)
    def log_metadata(self, number: int, name: str, value: Any) -> None:
        self.protocol.log_trial_metadata(self.model[number].trial, **{name: value})
        self.model[number].metadata[name] = value

    @rule(number=trials, status=STATUSES)
    def set_status(self, number: int, status: Status) -> None:
        self.protocol.set_trial_status(self.model[number].trial, status)
        self.model[number].status = status

    @rule(status=STATUSES, then=STATUSES)
    def claim(self, status: Status, then: Status) -> None:
        first = next((each for each in self.model if each.status is status), None)
        try:
            found = self.protocol.fetch_and_update_trial({"status": status}, "set_trial_status", status=then)
        except ItemNotFound:
            assert first is None
            return
        assert first is not None
        assert found.uid == first.trial.uid
        first.status = then

    @rule()
    def flush(self) -> None:
        self.protocol.flush()

    @rule()
    def open_again(self) -> None:
        self.protocol.close()
        self.protocol = get_protocol(self.uri)

    # -- what looks at it ------------------------------------------------------------------------

    @rule(number=trials)
    def reads_back(self, number: int) -> None:
        expected = self.model[number]
        (found,) = self.protocol.get_trial(expected.trial) or []
        assert found.uid == expected.trial.uid
        assert found.status is expected.status
        for read, wanted in (
            (found.parameters, expected.parameters),
            (found.tags, expected.tags),
            (
                {name: value for name, value in found.metadata.items() if name in ("team", "site")},
                expected.metadata,
            ),
        ):
            assert sorted(read) == sorted(wanted)
            assert all(same(read[name], value) for name, value in wanted.items())
        assert sorted(found.metrics) == sorted(expected.series)
        rewinds = [(each["step"], each["points"]) for each in found.metadata.get("rewinds", [])]
        assert rewinds == expected.rewinds
        for kind, every in ((METRIC, expected.series), (SUPERSEDED, expected.superseded)):
            for name, points in every.items():
                series = self.protocol.fetch_metrics(expected.trial, name, kind)
                assert all_same(list(series.steps), [step for step, _ in points])
                assert all_same(list(series.values), [value for _, value in points])

    @rule(status=STATUSES)
    def finds_by_status(self, status: Status) -> None:
        found = self.protocol.fetch_trials({"status": status})
        assert [each.uid for each in found] == [
            each.trial.uid for each in self.model if each.status is status
        ]


class OnSqlite(Machine):
    """A file of SQLite's."""

    scheme = "sqlite"


class OnFile(Machine):
    """A JSON file with its sidecar."""

    scheme = "file"


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.parametrize("machine", [OnSqlite, OnFile])
def test_whatever_is_done_the_store_agrees_with_plain_values(machine: type[Machine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=count(15, 1_000),
            stateful_step_count=count(20, 60),
            print_blob=True,
            suppress_health_check=QUIET,
        ),
    )


def test_a_store_that_drops_points_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # The protection removed: points of one metric are acknowledged and not applied.
    def careless(tx: Any, by: bytes, op: Any) -> None:
        if not isinstance(op, PointsOp) or "rate" not in op.names:
            apply_op(tx, by, op)

    monkeypatch.setattr(track_server.engine.jobs, "apply_op", careless)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            OnSqlite,
            settings=settings(
                max_examples=50,
                stateful_step_count=20,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=QUIET,
            ),
        )
