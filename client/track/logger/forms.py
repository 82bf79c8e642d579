"""The ways in which a log call may be written, and what each of them means.

People come with the habits of other trackers, so a mapping, a pair of name and value, and keywords all work:

| written | as with |
| --- | --- |
| ``log_metrics(step=3, loss=1.0)``, ``log_metrics(3, loss=1.0)`` | Track |
| ``log_metrics({"loss": 1.0})``, ``log_metrics({"loss": 1.0}, 3)``, ``…, step=3)`` | W&B, trackio, SwanLab |
| ``log_metrics("loss", 1.0)``, ``log_metrics("loss", 1.0, 3)``, ``…, step=3)`` | MLflow, TensorBoard |
| ``log_metrics(3, {"loss": 1.0})`` | callbacks |

Names in a mapping are only names: a metric may be called ``step``.  What has none of these forms is described
in `problem`, for the one warning, and counted in `lost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from track.recording.parameters import fields_of
from track_protocol.model.aggregators import is_aggregator

__all__ = ["Metrics", "Values", "metrics_of", "values_of"]

_TAGS: Final = "add_tags"
_METRICS: Final = 'write log_metrics({"loss": 0.5}, step=3) or log_metrics(step=3, loss=0.5)'


class Metrics(NamedTuple):
    """What a call that logs metrics means.

    Attributes:
        step: None for none.
        values: by name.
        aggregator: how they read back; None for the default.
        problem: what could not be understood, and how to write it; empty when all could.
        lost: how many values that was.
    """

    step: Any
    values: dict[str, Any]
    aggregator: Any
    problem: str = ""
    lost: int = 0


class Values(NamedTuple):
    """What a call that logs values by name means.

    Attributes:
        values: by name.
        aggregator: whether a later value replaces an earlier one; None when that was not said.
        problem: see `Metrics`.
        lost: see `Metrics`.
    """

    values: dict[str, Any]
    aggregator: Any = None
    problem: str = ""
    lost: int = 0


def metrics_of(given: tuple[Any, ...], step: Any, aggregator: Any, named: dict[str, Any]) -> Metrics:
    """What ``log_metrics(*given, step=step, aggregator=aggregator, **named)`` means.

    Args:
        given: by position.
        step: by name; None when it was not given.
        aggregator: by name; anything that makes no aggregator is the value of that name.
        named: the other keywords.
    """
    if not is_aggregator(aggregator):
        named, aggregator = {**named, "aggregator": aggregator}, None
    read = _positional(given, named)
    if read is None:
        problem = f"log_metrics({_shown(given)}) is not understood: {_METRICS}"
        return Metrics(step, named, aggregator, problem, max(1, len(given) - 1))
    problem = _twice("log_metrics", read.values, named)
    if step is not None and read.step is not None:
        problem = f"log_metrics: the step was given twice, {_brief(read.step)} is ignored: {_METRICS}"
    return Metrics(
        read.step if step is None else step,
        {**read.values, **named},
        read.aggregator if aggregator is None else aggregator,
        problem,
        len(read.values.keys() & named.keys()),
    )


def _positional(given: tuple[Any, ...], named: Mapping[str, Any]) -> Metrics | None:
    """What the arguments without a name mean; None when they mean nothing."""
    if not given:
        return Metrics(None, {}, None)
    first, *rest = given
    if (values := fields_of(first)) is not None:
        return Metrics(rest[0] if rest else None, values, None) if len(rest) < 2 else None
    if rest and (values := fields_of(rest[-1])) is not None and len(rest) <= 2:
        maker = rest[0] if len(rest) == 2 else None
        return Metrics(first, values, maker) if is_aggregator(maker) else None
    if named and len(rest) < 2 and is_aggregator(rest[0] if rest else None):
        return Metrics(first, {}, rest[0] if rest else None)
    if issubclass(type(first), str) and 1 <= len(rest) <= 2:
        return Metrics(rest[1] if len(rest) == 2 else None, {first: rest[0]}, None)
    return None


def values_of(call: str, given: tuple[Any, ...], named: dict[str, Any], aggregator: Any = None) -> Values:
    """What ``call(*given, aggregator=aggregator, **named)`` means, of a call that stores values by name.

    Args:
        call: its name.
        given: by position: a mapping, a name and its value, or how the values read back.
        named: the keywords.
        aggregator: by name; anything that makes no aggregator is the value of that name.
    """
    if not is_aggregator(aggregator):
        named, aggregator = {**named, "aggregator": aggregator}, None
    if not given:
        return Values(named, aggregator)
    if len(given) == 1 and named and given[0] is not None and is_aggregator(given[0]):
        return Values(named, given[0])
    values = fields_of(given[0]) if len(given) == 1 else None
    if len(given) == 2 and issubclass(type(given[0]), str):
        values = {given[0]: given[1]}
    if call == _TAGS and values is None:
        values = _bare_tags(given)
    if values is None:
        remedy = f'write {call}({{"name": "value"}}) or {call}(name="value")'
        return Values(named, aggregator, f"{call}({_shown(given)}) is not understood: {remedy}", len(given))
    twice = len(values.keys() & named.keys())
    return Values({**values, **named}, aggregator, _twice(call, values, named), twice)


def _bare_tags(given: tuple[Any, ...]) -> dict[str, Any] | None:
    """Tags that are only names, as in ``add_tags("baseline")`` and ``add_tags(["a", "b"])``: each is true."""
    names = given[0] if len(given) == 1 and type(given[0]) in (list, tuple, set, frozenset) else given
    return {str(name): True for name in names} if all(issubclass(type(name), str) for name in names) else None


def _twice(call: str, values: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    both = sorted(values.keys() & named.keys())
    return (
        f"{call}: {', '.join(both)[:200]} was given twice, the keyword counts: give it once" if both else ""
    )


def _shown(given: tuple[Any, ...]) -> str:
    return ", ".join(map(_brief, given[:4])) + (", …" if len(given) > 4 else "")


def _brief(value: Any) -> str:
    """A plain number or text itself, of anything else the type: its own text may be long, or raise."""
    if issubclass(type(value), str):
        return repr(str.__str__(value)[:40])
    return str(value) if type(value) in (float, bool) or value is None else type(value).__name__
