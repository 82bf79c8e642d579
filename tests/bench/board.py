"""What a board asks of ten thousand trials: tables, groups, and which fields there are; and its pages."""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

from large_stores import fill_with_trials
from pages import measure_pages
from tables import Table
from track_protocol.errors import TrackError
from track_server.engine.engine import Engine
from track_server.engine.readers import Page
from track_server.storage.sqlite.store import open_store

__all__ = ["measure"]

_TRIALS: Final = (10_000, 1_000)
"""In full, and quick."""

_METRICS: Final = 20
_TIMES: Final = 7
_WAIT_S: Final = 60.0

_LOSS: Final = "metrics.loss.min"
_COLUMNS: Final = [_LOSS, *(f"metrics.m{number}.min" for number in range(1, _METRICS))]
_AXES: Final = [
    *("parameters.lr", "parameters.batch", "parameters.opt.name", "parameters.dropout", "parameters.layers"),
    *(_LOSS, "metrics.m1"),
]
_FILTER: Final = {"status": "Completed", "parameters.lr": {"$lt": 0.01}, _LOSS: {"$lt": 0.5}}


def measure(folder: Path, quick: bool) -> None:
    """Fill a store, and print what the reads of a board take at the engine."""
    trials = _TRIALS[quick]
    path = folder / "board.db"
    fill_with_trials(path, trials, _METRICS)
    engine = Engine(open_store(path, exclusive=True))
    try:
        _print(engine, trials)
    finally:
        engine.close()
    measure_pages(folder, path, quick)


def _print(engine: Engine, trials: int) -> None:
    page: dict[str, Any] = {"query": {}, "columns": _COLUMNS, "limit": 100}
    reads: list[tuple[str, str, dict[str, Any]]] = [
        ("page of 100 rows by 20 metrics, newest first", "fetch_table", {**page, "order": ["-created"]}),
        ("the same, sorted by a metric", "fetch_table", {**page, "order": [f"-{_LOSS}"]}),
        ("the same, sorted by a parameter", "fetch_table", {**page, "order": ["parameters.lr"]}),
        ("the same, sorted by status", "fetch_table", {**page, "order": ["status"]}),
        ("three filters, sorted by a metric", "fetch_table", {**page, "query": _FILTER, "order": [_LOSS]}),
        ("parallel coordinates, 7 axes, all trials", "fetch_table", {"query": {}, "columns": _AXES}),
        ("groups by a parameter", "fetch_groups_of", {"by": ["parameters.opt.name"], "measures": [_LOSS]}),
        ("fields", "fetch_fields", {}),
        ("a chart of groups", "fetch_grouped_columns", {"by": ["parameters.opt.name"], "name": "loss"}),
    ]
    table = Table(f"of {trials:,} trials", "ms", "CPU ms", "÷ newest", "bytes")
    newest = 0.0
    for name, method, arguments in reads:
        limit = {"limit": trials} if arguments.get("columns") is _AXES else {}
        seconds, cpu, nbytes = _measured(engine, method, {"query": {}, **arguments, **limit})
        newest = newest or cpu
        table.add(name, f"{1e3 * seconds:.1f}", f"{1e3 * cpu:.1f}", f"{cpu / newest:.1f}", f"{nbytes:,}")
    table.print(f"board: the median of {_TIMES} reads at the engine, beside the cheapest page")
    print()


def _measured(engine: Engine, method: str, arguments: Mapping[str, Any]) -> tuple[float, float, int]:
    """The medians of some times and of the processor time of each, and the size of the answer."""
    taken, used, nbytes = [], [], 0
    for _ in range(_TIMES):
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        began, processor = time.perf_counter(), time.process_time()
        engine.submit_read(method, dict(arguments), answers.put)
        page = _page(answers)
        nbytes = len(page.data)
        while page.rest is not None:
            engine.submit_rest(page.rest, answers.put)
            page = _page(answers)
            nbytes += len(page.data)
        taken.append(time.perf_counter() - began)
        used.append(time.process_time() - processor)
    return median(taken), median(used), nbytes


def _page(answers: queue.SimpleQueue[Any]) -> Page:
    answer = answers.get(timeout=_WAIT_S)
    if isinstance(answer, TrackError):
        raise answer
    assert isinstance(answer, Page)
    return answer
