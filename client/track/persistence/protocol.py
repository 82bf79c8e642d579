"""The storage contract: every call a tracking client makes, on any store.

A backend of your own subclasses `Protocol` and overrides what it supports; what it leaves out raises
`NotImplementedError` with its name.  Each method hands what it was given to `Protocol._call`: a backend that
treats most methods alike overrides that one, and finds the access, role and parameters of each method in
`track_protocol.wire.methods`.

Why there are two: this class says how Python calls a store, and type checkers and editors need its signatures
as they stand.  That table says what travels, which a server needs without the client and which differs: a
traceback travels as a status and a text, a creation with its id, a medium as blobs and a document.  A test
compares what both have.

Objects given are definitions (compared by ``uid``); objects returned are what the store holds.  Calls named
``log_…``, ``add_…`` and ``set_…`` may return before their effect is stored; `flush` waits for it, and any
call with an answer sees all of it.
"""

# What `Protocol._call` answers is as the method declares it, which only its implementations know.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from track_protocol.errors import ItemNotFound
from track_protocol.model.aggregators import Aggregator, StatAggregator, ValueAggregator
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup
from track_protocol.model.rejected import Rejected
from track_protocol.model.seriesname import SeriesName

__all__ = [
    "LATEST",
    "RUNTIME",
    "TIMINGS",
    "Conditions",
    "MakeAggregator",
    "MetricWriter",
    "Protocol",
    "item_may_be_named",
    "matched",
]

_log: Final = logging.getLogger("track")
_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

Conditions = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
"""A query, a list of queries that must all match, or None, which everything matches."""

MakeAggregator = Callable[[], Aggregator]
"""What an ``aggregator=`` argument takes: something that makes one, such as ``StatAggregator.lazy(10)``."""

MetricWriter = Callable[[Any, Mapping[str, Any]], None]
"""Takes a step (None for none) and values by name."""


RUNTIME: Final = "runtime"
"""The timer of a trial, from its start to its end."""

LATEST: Final[MakeAggregator] = ValueAggregator.lazy()
"""How metadata read back unless said otherwise: the latest value."""

TIMINGS: Final[MakeAggregator] = StatAggregator.lazy(0)
"""How timings read back unless said otherwise: mean, deviation, minimum, maximum and count."""


def item_may_be_named(name: str) -> Callable[[_F], _F]:
    """Let a method's first argument, which is positional so that a value may have its name, be named too.

    Args:
        name: of the item, as documented: ``add_trial_tags(trial=trial, a=1)``.
    """

    def decorate(method: _F) -> _F:
        @functools.wraps(method)
        def call(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not args and name in kwargs:
                args = (kwargs.pop(name),)
            return method(self, *args, **kwargs)

        return cast(_F, call)

    return decorate


def matched(what: str, query: Conditions, found: _T | None) -> _T:
    """What a query found.

    Args:
        what: a trial or a group, for the message.
        query: the query.
        found: the first that matches.

    Raises:
        ItemNotFound: there is none.
    """
    if found is None:
        raise ItemNotFound(f"no {what} matches {query!r:.200}")
    return found


class Protocol:
    """A store of projects, groups and trials.

    Args:
        uri: where the store is; its scheme chose the class.
    """

    def __init__(self, uri: str = "") -> None:
        self.uri = uri

    def _call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """What each method below does unless a class overrides it.

        A backend that treats most methods alike overrides this one, as those of Track do.

        Args:
            method: the name of the method.
            args: what it was given.
            kwargs: what it was given by name.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement {method}")

    # -- projects, groups and trials -------------------------------------------------------------

    def new_project(self, project: Project) -> Project:
        """Insert a project; if it exists already, the stored one is left as it is and returned.

        Of processes that create it at the same moment, one does, and the others get what that one stored.
        """
        return self._call("new_project", project)

    def get_project(self, project: Project) -> Project | None:
        """The stored project with the definition's uid, or None."""
        return self._call("get_project", project)

    def new_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """Insert a group.

        Returns:
            The stored group, or None if it exists already; it is left as it is then, and `get_trial_group`
            returns it.  Of processes that create it at the same moment, exactly one gets it here.  While the
            store is unreachable each gets what it has given, and what arrives first is stored.
        """
        return self._call("new_trial_group", group)

    def get_trial_group(self, group: TrialGroup) -> TrialGroup | None:
        """The stored group with the definition's uid, or None."""
        return self._call("get_trial_group", group)

    def new_trial(self, trial: Trial, auto_increment: bool = False) -> Trial | None:
        """Insert a trial.

        Args:
            trial: its definition; its identity is brought up to date with what was stored.
            auto_increment: if a trial of the same hash exists, insert the next revision of it.

        Returns:
            The stored trial, or None if it exists already and `auto_increment` is False.
        """
        return self._call("new_trial", trial, auto_increment)

    def adopt_trial(self, trial: Trial) -> Trial | None:
        """Insert a trial as another store has it: under its id and revision, where this one can do that.

        Args:
            trial: as the other store returned it; left as it is.

        Returns:
            The stored trial, whose id and revision may be others.
        """
        return self.new_trial(dataclasses.replace(trial), auto_increment=True)

    def put_trial(self, trial: Trial) -> None:
        """The same, without waiting for the result: for copying many trials from another store.

        When their ids follow from what they are, they may be copied again.

        Args:
            trial: its definition, with an id.
        """
        self.adopt_trial(trial)

    def get_trial(self, trial: Trial) -> list[Trial] | None:
        """The stored trials that the definition names, by revision; None when there is none.

        A definition with an id names one trial, and so does one with a revision above 0.  Any other names all
        revisions of its hash.
        """
        return self._call("get_trial", trial)

    def current_trial(self, trial: Trial) -> Trial | None:
        """The stored trial that the definition names, or None.

        A store that is unreachable may give a trial that has an id back as it is known, with a warning.
        """
        found = self.get_trial(trial) or []
        return next((each for each in found if trial.id is not None or each.uid == trial.uid), None)

    def add_project_trial(self, project: Project, trial: Trial) -> None:
        """Put a trial into a project."""
        self._call("add_project_trial", project, trial)

    def add_group_trial(self, group: TrialGroup, trial: Trial) -> None:
        """Put a trial into a group; a trial may be in several."""
        self._call("add_group_trial", group, trial)

    def delete_trial(self, trial: Trial, force: bool = False) -> bool:
        """Delete a trial with its series, links and leases: no reader finds it from then on.

        Its space is freed in the background.  Quarantined records (`fetch_rejected`) stay.

        Args:
            trial: the trial.
            force: delete it even while another process writes it.  What that process still sends is
                quarantined, like records of an unknown trial.

        Returns:
            whether there was such a trial; deleting it again does no harm.

        Raises:
            TrialInUse: it is running, and a session other than this one runs it.
        """
        return self._call("delete_trial", trial, force)

    # -- queries ---------------------------------------------------------------------------------

    def fetch_projects(
        self,
        query: Conditions = None,
        *,
        start: int = 0,
        limit: int | None = None,
        order: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
    ) -> list[Project]:
        """The projects that match; `track_protocol.query.parse` explains queries.

        Args:
            query: which ones; a list of queries selects what all of them select, and None everything.
            start: how many to leave out first.
            limit: how many at most; None for all.
            order: attributes as in queries, most significant first, with ``-`` in front to descend, such as
                ``["-metrics.loss.min", "created"]``; by default in order of insertion.
            fields: which fields to fetch besides those that make an object, such as ``["name", "tags"]``; the
                others are left empty, which is faster without ``metrics``.  None for all.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: `order` or `fields` has an unknown name.
        """
        return self._call("fetch_projects", query, start=start, limit=limit, order=order, fields=fields)

    def fetch_groups(
        self,
        query: Conditions = None,
        *,
        start: int = 0,
        limit: int | None = None,
        order: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
    ) -> list[TrialGroup]:
        """The groups that match; arguments as for `fetch_projects`.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: `order` or `fields` has an unknown name.
        """
        return self._call("fetch_groups", query, start=start, limit=limit, order=order, fields=fields)

    def fetch_trials(
        self,
        query: Conditions = None,
        *,
        start: int = 0,
        limit: int | None = None,
        order: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
    ) -> list[Trial]:
        """The trials that match; arguments as for `fetch_projects`.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: `order` or `fields` has an unknown name.
        """
        return self._call("fetch_trials", query, start=start, limit=limit, order=order, fields=fields)

    def fetch_table(
        self,
        query: Conditions = None,
        columns: Sequence[str] = ("uid",),
        order: Sequence[str] | None = None,
        start: int = 0,
        limit: int = 100,
    ) -> dict[str, Any]:
        """Columns of the trials that match, without their documents: a page of them, and how many match.

        Args:
            query: as for `fetch_trials`.
            columns: attributes as in queries, or ``project`` and ``group`` (names), ``seen`` (time of the
                last sign of life), ``parameters``, ``tags``, ``metadata``; ``status`` is a name.
            order: such as ``["-metrics.loss.min", "created"]``; by default in order of insertion.  Numbers
                come first, then NaN, then texts, and what has no value is last, in either direction.
            start: how many to leave out first.
            limit: how many at most; together with the columns not over 200,000 values.

        Returns:
            ``total``, how many trials match; ``ids`` of those on the page; ``columns``, a list of values for
            each column, None where there is none.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: a column is unknown, or the table would be too large.
        """
        return self._call("fetch_table", query, columns, order, start, limit)

    def fetch_rows(
        self, trials: Sequence[Trial | bytes], columns: Sequence[str] = ("uid",)
    ) -> dict[str, Any]:
        """The same of some trials, given by themselves or their ids, in their order.

        Those that do not exist any more are left out.

        Raises:
            BadArguments: as for `fetch_table`.
        """
        return self._call("fetch_rows", trials, columns)

    def fetch_fields(self, query: Conditions = None) -> dict[str, Any]:
        """Which values and series the trials that match have.

        Returns:
            ``total``, how many trials match; ``fields``, for each name in their parameters, tags and metadata
            ``name, count, numbers, texts, booleans, others, nonfinite, min, max``, up to 20 distinct
            ``values`` and whether it ``differs``; ``series``, for each ``kind`` and ``name`` how many
            ``trials`` have it; ``statuses``, how many trials have each; ``more``, whether there are too many
            names for one answer.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
        """
        return self._call("fetch_fields", query)

    def fetch_groups_of(
        self,
        query: Conditions = None,
        by: Sequence[str] = (),
        measures: Sequence[str] = (),
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """The trials that match, grouped by values, the largest group first.

        Args:
            query: as for `fetch_trials`.
            by: columns as for `fetch_table`, of which all trials of a group have the same values.
            measures: columns, of whose finite numbers statistics are made.
            limit: how many groups at most.

        Returns:
            for each group the values in ``by``, the ``count`` of its trials, and for each of ``measures``
            ``count, min, max, mean, sd``.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: a column is unknown, or there are too many.
        """
        return self._call("fetch_groups_of", query, by, measures, limit)

    def fetch_changes(self, cursor: str | None = None, limit: int = 1000) -> dict[str, Any]:
        """What was changed since a moment, by whichever process.

        Args:
            cursor: the moment, from an earlier answer; None for now.
            limit: about how many changed things to name at most.

        Returns:
            ``cursor`` for the next call; ``known``, whether all changes since are named; ``more``, whether
            there are others after these; ids of ``trials`` and ``deleted`` trials; uids of ``groups`` and
            ``projects``.
        """
        return self._call("fetch_changes", cursor, limit)

    def fetch_and_update_trial(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> Trial:
        """Find the oldest trial that matches and update it, as one atomic step.

        Args:
            query: which trial.
            attr: name of the call that updates it, such as ``'set_trial_status'``.
            args: arguments of that call after its trial.
            kwargs: arguments of that call by name.

        Returns:
            The updated trial.

        Raises:
            ItemNotFound: none matches.
        """
        return matched("trial", query, self._call("fetch_and_update_trial", query, attr, *args, **kwargs))

    def fetch_and_update_group(self, query: Conditions, attr: str, *args: Any, **kwargs: Any) -> TrialGroup:
        """Find the oldest group that matches and update it, as one atomic step.

        Args:
            query: which group.
            attr: name of the call that updates it, such as ``'set_group_metadata'``.
            args: arguments of that call after its group.
            kwargs: arguments of that call by name.

        Returns:
            The updated group.

        Raises:
            ItemNotFound: none matches.
        """
        return matched("group", query, self._call("fetch_and_update_group", query, attr, *args, **kwargs))

    def fetch_metrics(
        self, trial: Trial | str, name: str, kind: str = "metric", context: Mapping[str, Any] | None = None
    ) -> Any:
        """Every point of one series of a trial.

        Args:
            trial: the trial; or its uid, the beginning of that, its id or its name.
            name: of the series, or its text with labels (see `track_protocol.model.seriesname`).
            kind: ``'metric'``, ``'chrono'``, or ``'superseded'`` for the points of a metric that rewinds
                took out of it, in the order in which they were taken.
            context: the labels of the series, all of them.

        Returns:
            Three equally long columns, ``steps``, ``times`` (seconds since the epoch) and ``values``.

        Raises:
            ItemNotFound: the trial has no such series.
        """
        return self._call("fetch_metrics", trial, SeriesName(name, context).text, kind)

    def fetch_columns(
        self,
        series: Sequence[tuple[Trial | bytes, str, str]],
        axis: str = "step",
        low: float | None = None,
        high: float | None = None,
        width: int = 1000,
    ) -> list[dict[str, Any] | None]:
        """Series cut into columns of equal extent along an axis, for charts of any number of points.

        Args:
            series: trial or its id, kind (``'metric'``, ``'chrono'`` or ``'superseded'``) and name of each;
                at most 1,024.
            axis: ``'step'``, ``'time'`` (seconds since the epoch), ``'relative'`` (seconds since the trial
                began) or ``'ordinal'``.
            low: the least place that is in the window; None for that of all points.
            high: the greatest one.
            width: how many columns, at most 4,096, and 262,144 of all series together.

        Returns:
            For each series None if it does not exist, ``{"error": text}`` if it cannot be read, or ``axis``
            (``'ordinal'`` for a series whose steps are not all numbers or do not ascend), ``low``, ``high``,
            ``count`` (of points in the window), ``total`` (of all its points), ``exact`` (whether no column
            has more than one point), and of each column that has a point, as little-endian float64 in bytes:
            ``x``, ``step`` and ``time`` of its last point, ``last`` value, ``min``, ``max`` and ``mean`` of
            its finite values, ``count_of`` its points, how many are ``nonfinite`` and the last of those,
            ``odd``.

        Raises:
            BadArguments: the window ends before it begins, or is of too many series or columns.
        """
        return self._call("fetch_columns", series, axis, low, high, width)

    def fetch_grouped_columns(
        self,
        query: Conditions = None,
        by: Sequence[str] = (),
        name: str = "loss",
        kind: str = "metric",
        axis: str = "step",
        low: float | None = None,
        high: float | None = None,
        width: int = 200,
        limit: int = 20,
    ) -> list[dict[str, Any]]:
        """Series of one name of the trials that match, summed up by values of these, for charts of groups.

        A series takes part in each column from its first one to its last, with the mean of its finite values
        there, or else with what lies on the straight line between its neighbouring columns.

        Args:
            query: as for `fetch_trials`.
            by: columns as for `fetch_table`, of which all trials of a group have the same values.
            name: of the series, with its context.
            kind: ``'metric'``, ``'chrono'`` or ``'superseded'``.
            axis, low, high, width: as for `fetch_columns`; 2,097,152 columns of all series together.
            limit: how many groups at most; never more than 100.

        Returns:
            For each group, the largest first, the values in ``by``, how many ``series`` it has on ``axis``,
            how many are ``left_out`` because they have no place there, how many have ``faults`` and cannot
            be read (the first error stands as ``{"error": text}`` in front of the group), and of each column
            in which any of its series has a finite value, as little-endian float64 in bytes: the greatest
            ``x`` of a point, how many ``runs`` take part, ``count_of`` their points, ``mean``, ``median`` and
            ``sd`` (of a sample) of what they take part with, and the ``min`` and ``max`` of all; and in
            ``odd`` for each column with other values place and step of a point, one of them, their number.

        Raises:
            BadQuery: the query names an unknown attribute or operator.
            BadArguments: a column is unknown, the window ends before it begins, or there is too much.
        """
        return self._call("fetch_grouped_columns", query, by, name, kind, axis, low, high, width, limit)

    def fetch_tails(
        self, tails: Sequence[tuple[Trial | bytes, str, str, int]], limit: int = 65_536
    ) -> list[dict[str, Any] | None]:
        """Points of several series from an ordinal on, as numbers.

        Args:
            tails: trial or its id, kind and name of each series, as for `fetch_columns`, and the ordinal.
            limit: how many points of each at most; never more than 65,536.

        Returns:
            For each series None if it does not exist, ``{"error": text}`` if it cannot be read, or ``start``,
            ``total`` (of all its points, less than ``start`` if it was rewound), ``steps``, ``times`` and
            ``values``: little-endian float64 in bytes, NaN for what is no number.

        Raises:
            BadArguments: there are too many series.
        """
        return self._call("fetch_tails", tails, limit)

    def fetch_media(
        self, trial: Trial, kind: str, name: str | None = None, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Media of a trial.

        Args:
            trial: the trial.
            kind: of the media.
            name: of the series; None for all series of that kind.
            context: the labels of the series, all of them.

        Returns:
            equally long columns ``steps``, ``times`` (seconds since the epoch) and ``values`` (documents, as
            `track_protocol.model.media` describes them), with ``content(index)`` for the bytes of one of
            them; or a mapping of names to these.

        Raises:
            ItemNotFound: the trial has no such series.
        """
        return self._call("fetch_media", trial, kind, name, context)

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob, in parts that are small enough for any memory.

        Args:
            digest: its SHA-256, in 64 hexadecimal digits.

        Raises:
            ItemNotFound: there is no such blob.
        """
        return self._call("fetch_blob", digest)

    def fetch_rejected(self, trial: Trial | None = None) -> list[Rejected]:
        """Quarantined records, which can never be stored, oldest first.

        Args:
            trial: only those about it.
        """
        return self._call("fetch_rejected", trial)

    # -- what happens in a trial -----------------------------------------------------------------

    def log_trial_start(self, trial: Trial, rank: int | None = None) -> Trial:
        """The trial begins now, and its status becomes running; its runtime counts until it ends.

        Args:
            trial: the trial.
            rank: of this process when several log into the trial; joins the list in the trial's metadata
                ``ranks``.  One above 0 leaves the status alone.

        Returns:
            the trial.
        """
        self._call("log_trial_start", trial, rank)
        return trial

    def log_trial_finish(
        self,
        trial: Trial,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
        rank: int | None = None,
        shared: bool = False,
    ) -> None:
        """The trial ends now: completed, or as the exception says, whose traceback is stored.

        Args:
            trial: the trial.
            exc_type: class of the exception that ended it, None at a normal end.
            exc_val: the exception.
            exc_tb: its traceback.
            rank: of this process when several log into the trial.  The end of one above 0 leaves the
                status alone; its traceback is stored.
            shared: only this process ends, unless it is the last of those that run the trial.
        """
        self._call("log_trial_finish", trial, exc_type, exc_val, exc_tb, rank, shared)

    @item_may_be_named("trial")
    def log_trial_arguments(self, trial: Trial, /, **kwargs: Any) -> None:
        """Merge values into a trial's parameters; its hash does not change what it is."""
        self._call("log_trial_arguments", trial, **kwargs)

    @item_may_be_named("trial")
    def log_trial_metadata(
        self, trial: Trial, /, aggregator: MakeAggregator | None = LATEST, **kwargs: Any
    ) -> None:
        """Store values with a trial.

        Args:
            trial: the trial.
            aggregator: whether a later value replaces an earlier one of that name or joins it.
            kwargs: the values by name.
        """
        self._call("log_trial_metadata", trial, aggregator, **kwargs)

    @item_may_be_named("trial")
    def log_trial_metrics(
        self,
        trial: Trial,
        /,
        step: Any = None,
        aggregator: MakeAggregator | None = None,
        *,
        context: Any = None,
        **kwargs: Any,
    ) -> None:
        """Append a point to some series of a trial.

        Args:
            trial: the trial.
            step: where in the training the values were observed; None for none.
            aggregator: how the series read back; every point is stored in any case.
            context: labels of the series, such as ``{"phase": "train"}``; part of what each of them is.
                Anything but a mapping is the value of a metric that is called context.
            kwargs: the values by the series' names.  `metric_writer` takes values of any name.
        """
        # Only given if there is one: a backend of the user's own need not know of labels.
        values = kwargs if context is None else {**kwargs, "context": context}
        self._call("log_trial_metrics", trial, step, aggregator, **values)

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Mapping[str, Any] | None = None,
        *,
        at: float | None = None,
        **options: Any,
    ) -> None:
        """Append a histogram, an image, a text, a graph or a file to a series of its kind.

        Args:
            trial: the trial.
            kind: ``'histogram'``, ``'image'``, ``'text'``, ``'graph'`` or ``'file'``.
            name: of the series.
            value: what it is made from: numbers, pixels, a str, a path; or a `Media`.
            step: where in the training it was made; None for none.
            context: labels of the series.
            at: when it was made, in seconds since the epoch; None for now.
            options: of the kind, such as ``bins`` of a histogram.
        """
        at_time = {} if at is None else {"at": at}
        self._call("log_trial_media", trial, kind, name, value, step, context, **at_time, **options)

    def log_trial_chrono_start(
        self,
        trial: Trial,
        name: str,
        aggregator: MakeAggregator | None = TIMINGS,
        start_callback: Callable[[], Any] | None = None,
        end_callback: Callable[[], Any] | None = None,
    ) -> None:
        """Start a timer.

        Args:
            trial: the trial.
            name: of the timer.
            aggregator: how the durations read back.
            start_callback: called before the clock starts.
            end_callback: called before the clock stops, for example to wait for a device.
        """
        self._call("log_trial_chrono_start", trial, name, aggregator, start_callback, end_callback)

    def log_trial_chrono_finish(
        self,
        trial: Trial,
        name: str,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Stop a timer and record how long it ran, unless an exception cut it short."""
        self._call("log_trial_chrono_finish", trial, name, exc_type, exc_val, exc_tb)

    def log_trial_points(
        self, trial: Trial, name: str, points: Iterable[tuple[Any, float, Any]], kind: str = "metric"
    ) -> None:
        """Append points that were observed earlier to one series of a trial.

        Args:
            trial: the trial.
            name: of the series.
            points: step, time in seconds since the epoch, and value of each.
            kind: ``'metric'`` or ``'chrono'``.
        """
        self._call("log_trial_points", trial, name, points, kind)

    def log_trial_dropped_points(self, trial: Trial, points: int, reason: str) -> None:
        """Count points that will never be stored, in the trial's metadata ``dropped_points``.

        The value is ``{"points": total, "reasons": {reason: count}}``; every rank adds to it, and beyond 20
        reasons the others are counted as ``other``.

        Args:
            trial: the trial.
            points: the number of dropped points.
            reason: why they were dropped.
        """
        self._call("log_trial_dropped_points", trial, points, reason)

    @item_may_be_named("trial")
    def add_trial_tags(self, trial: Trial, /, **kwargs: Any) -> None:
        """Merge values into a trial's tags."""
        self._call("add_trial_tags", trial, **kwargs)

    def remove_trial_tags(self, trial: Trial, names: Sequence[str]) -> None:
        """Remove tags of a trial; those that it has of its project stay.

        Args:
            trial: the trial.
            names: of the tags; those that it does not have do no harm.
        """
        self._call("remove_trial_tags", trial, names)

    def rename_trial(self, trial: Trial, name: str | None = None, description: str | None = None) -> None:
        """Change what a trial is called and how it is described; its uid and hash stay.

        Args:
            trial: the trial.
            name: the new one; an empty text removes it, None leaves it as it is.
            description: likewise.
        """
        self._call("rename_trial", trial, name, description)

    def set_trial_status(self, trial: Trial, status: Status | CustomStatus, error: str | None = None) -> None:
        """Change a trial's status.

        Args:
            trial: the trial.
            status: the new one.
            error: what went wrong, when it did; added to the trial's errors.
        """
        self._call("set_trial_status", trial, status, error)

    def rewind_trial(self, trial: Trial, step: float) -> None:
        """Go back to a step: all metric points logged so far that have a later one are superseded.

        They leave their series, which read and are summarised as if they had not been logged, and are stored
        for ``fetch_metrics(trial, name, kind="superseded")``; the trial's metadata ``rewinds`` gets an item
        of ``step``, ``time``, ``points``, how many that were, and ``session``.  Chronos stay, and so do
        points whose step is no finite number.  What another session has logged before, and sends later, is
        superseded when it comes.

        Args:
            trial: the trial.
            step: the last one that stays.

        Raises:
            BadArguments: it is no number.
        """
        self._call("rewind_trial", trial, step)

    @item_may_be_named("project")
    def set_project_metadata(self, project: Project, /, **kwargs: Any) -> None:
        """Merge values into a project's metadata."""
        self._call("set_project_metadata", project, **kwargs)

    @item_may_be_named("group")
    def set_group_metadata(self, group: TrialGroup, /, **kwargs: Any) -> None:
        """Merge values into a group's metadata."""
        self._call("set_group_metadata", group, **kwargs)

    # -- durability ------------------------------------------------------------------------------

    @property
    def is_unreachable(self) -> bool:
        """Whether the store is known to be unreachable just now: a call with an answer would fail."""
        return False

    @property
    def dropped_count(self) -> int:
        """How many of the points and calls that were logged here are known never to be stored."""
        return 0

    def count_dropped(self, trial: Trial, points: int, reason: str) -> None:
        """Count, in a trial, what a log call was given and cannot be stored; the first time, warn.

        Args:
            trial: the trial.
            points: how many values that were.
            reason: why, and what to write in its place.
        """
        reported: set[str] = vars(self).setdefault("_reported", set())
        if reason not in reported:
            reported.add(reason)
            _log.warning("not logged: %s", reason)
        self.log_trial_dropped_points(trial, points, reason)

    def commit(self, **kwargs: Any) -> None:
        """`flush`, and make everything readable where the store is a file for people.

        Args:
            kwargs: options of the backend, such as ``file_name_override``: also write it all there.
        """
        self._call("commit", **kwargs)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until the store has everything logged before; a backend that never defers has nothing to do.

        Args:
            timeout: seconds; None waits as long as there is progress.
        """

    def persist(self, timeout: float | None = None) -> None:
        """Wait until the end of this process could lose nothing that was logged before.

        Records that are queued on this machine's disk count, where they are sent later.  A backend without a
        queue on disk does the same as for `flush`.

        Args:
            timeout: seconds; None waits as long as there is progress.
        """
        self.flush(timeout)

    def close(self) -> None:
        """`persist`, then release what is held; harmless when repeated."""

    # -- the fast way ----------------------------------------------------------------------------

    def metric_writer(self, trial: Trial) -> MetricWriter:
        """A function that logs metrics of one trial; a backend may give a faster one than this."""

        def write(step: Any, metrics: Mapping[str, Any]) -> None:
            self.log_trial_metrics(trial, step, None, **metrics)

        return write
