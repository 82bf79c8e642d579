"""The API itself: which request asks for what, and what it is answered.

It is that of the older board, and its published front end runs on it unchanged.  Each visitor has a database
of its own selected.  What JSON cannot say (NaN, infinities) is ``null``.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from track.simpleboard.databases import Databases
from track.tracker.experiment_db import ExperimentDBManager
from track.tracker.records import RunInfo
from track.tracker.statuses import COMPLETED
from track_protocol.board import IN_THREAD, VISITOR, Visitor
from track_protocol.errors import (
    BadArguments,
    BadValue,
    ItemNotFound,
    PermissionDenied,
    StoreReadOnly,
    TooBusy,
    TrackError,
    TrialInUse,
)
from track_protocol.wire.roles import Role

__all__ = ["SimpleBoard"]

_MOST_VISITORS: Final = 1_000
"""Visitors whose choice of a database is remembered."""

_NUMBER: Final = re.compile("[0-9]{1,18}")
"""Of a run; more digits are in no store, and could not even be read."""

_MOST_SMOOTHING: Final = 0.999

_STATUSES: Final[Sequence[tuple[type[TrackError], int]]] = (
    (ItemNotFound, 404),
    (PermissionDenied, 403),
    (BadArguments, 400),
    (BadValue, 400),
    (StoreReadOnly, 409),
    (TrialInUse, 409),
    (TooBusy, 503),
)
"""HTTP statuses of errors; of all others it is 500."""


_InThread = Callable[[Callable[[], Response]], Awaitable[Response]]


class _Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, read.

    Attributes:
        visitor: who sent it.
        query: the parameters in its address.
        body: what it carries.
        run_id: the number in its path, 0 without one.
        runs: those of the selected database; None when none is selected.
    """

    visitor: Visitor
    query: Mapping[str, str]
    body: Mapping[str, Any]
    run_id: int = 0
    runs: ExperimentDBManager | None = None

    @property
    def selected(self) -> ExperimentDBManager:
        """The runs of the selected database."""
        if self.runs is None:
            raise _Refused(400, "No database selected")
        return self.runs

    @property
    def run(self) -> RunInfo:
        """The run that the path names."""
        found = self.selected.get_run(self.run_id)
        if found is None:
            raise _not_found(self.run_id)
        return found

    @property
    def smoothing(self) -> float:
        """The weight of what was before, from 0 to 0.999; 0 for what is no such number."""
        try:
            wanted = float(self.query.get("smoothing", 0))
        except ValueError:
            return 0.0
        return min(max(wanted, 0.0), _MOST_SMOOTHING) if math.isfinite(wanted) else 0.0


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What answers one method on one path.

    Attributes:
        answer: makes the answer: what is written as JSON, or a response.
        role: the least that may ask.
        needs_database: whether the selected database is opened for it.
        status: of a good answer.
    """

    answer: Callable[[SimpleBoard, _Asked], Any]
    role: Role = Role.READER
    needs_database: bool = True
    status: int = 200


class SimpleBoard:
    """The routes of the API.

    The state in the scope of each request has what `Interface.routes` says.

    Args:
        databases: what is offered.
    """

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self._selected: OrderedDict[Hashable, str] = OrderedDict()

    @property
    def routes(self) -> list[BaseRoute]:
        """The routes, the more special ones first."""
        return [
            *(
                Route(path, self._endpoint(endpoints), methods=[*endpoints])
                for path, endpoints in _ENDPOINTS.items()
            ),
            Route("/api/{path:path}", _preflight, methods=["OPTIONS"]),
            Route("/api/{path:path}", _unknown, methods=["POST", "PATCH", "DELETE"]),
        ]

    def close(self) -> None:
        """Close the databases."""
        self.databases.close()

    def selected_by(self, visitor: Visitor) -> str | None:
        """The name of the database that a visitor has selected, None for none."""
        name = self._selected.get(visitor.key)
        return name if name is not None and name in self.databases.names() else None

    def select(self, visitor: Visitor, name: str | None) -> None:
        """Select a database, or none."""
        self._selected.pop(visitor.key, None)
        if name is not None:
            self._selected[visitor.key] = name
        while len(self._selected) > _MOST_VISITORS:
            self._selected.popitem(last=False)

    def _endpoint(self, endpoints: Mapping[str, _Endpoint]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            in_thread: _InThread = request.scope["state"][IN_THREAD]
            return await in_thread(partial(self._respond, endpoints, request, body))

        return endpoint

    def _respond(self, endpoints: Mapping[str, _Endpoint], request: Request, body: bytes) -> Response:
        # Routes of GET answer HEAD, too.
        endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
        try:
            answer = self._answer(endpoint, request, body)
        except _Refused as error:
            return _json({"detail": str(error)}, error.status)
        except TrackError as error:
            status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
            return _json({"detail": str(error)}, status)
        return answer if isinstance(answer, Response) else _json(answer, endpoint.status)

    def _answer(self, endpoint: _Endpoint, request: Request, body: bytes) -> Any:
        visitor: Visitor = request.scope["state"][VISITOR]
        if visitor.role < endpoint.role:
            raise _Refused(403, f"a {visitor.role} may not do this: log in as a {endpoint.role}")
        asked = _Asked(visitor, request.query_params, _document(body), _run_id(request))
        name = self.selected_by(visitor) if endpoint.needs_database else None
        if name is None:
            return endpoint.answer(self, asked)
        with self.databases.opened(name) as runs:
            return endpoint.answer(self, replace(asked, runs=runs))


async def _preflight(_request: Request) -> Response:
    methods = "GET, POST, PATCH, DELETE, OPTIONS"
    allowed = {"Access-Control-Allow-Methods": methods, "Access-Control-Allow-Headers": "Content-Type"}
    return Response(headers=allowed)


async def _unknown(_request: Request) -> Response:
    return _json({"detail": "Not found"}, 404)


def _document(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Refused(400, f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _Refused(400, "the body must be a JSON object")
    return document


def _run_id(request: Request) -> int:
    """The number in a request's path; 0 without one."""
    text = str(request.path_params.get("run_id", "0"))
    if not _NUMBER.fullmatch(text):
        raise _Refused(404, f"Run {text[:80]} not found")
    return int(text)


def _text(asked: _Asked, name: str) -> str:
    """A text of the body that has to be there."""
    given = asked.body.get(name)
    if not isinstance(given, str) or not given:
        raise _Refused(400, f"'{name}' field is required")
    return given


def _not_found(run_id: int) -> _Refused:
    return _Refused(404, f"Run {run_id} not found")


def _json(value: Any, status: int = 200) -> Response:
    # NaN and infinities become null.
    content = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(content, status, media_type="application/json")


# -- folders and databases -----------------------------------------------------------------------


def _config(board: SimpleBoard, _asked: _Asked) -> Any:
    return {"exp_dir": board.databases.folder}


def _move(board: SimpleBoard, asked: _Asked) -> Any:
    if not asked.visitor.is_owner:
        raise _Refused(403, "only the user who started the board may choose another folder, on its machine")
    path = _text(asked, "path")
    try:
        board.databases.move(path)
    except OSError as error:
        raise _Refused(500, f"{path} cannot be used ({error.strerror}): choose another folder") from None
    board.select(asked.visitor, None)
    return {"exp_dir": board.databases.folder}


def _databases(board: SimpleBoard, asked: _Asked) -> Any:
    return {
        "available_databases": board.databases.names(),
        "current_database": board.selected_by(asked.visitor),
    }


def _select(board: SimpleBoard, asked: _Asked) -> Any:
    name = _text(asked, "db_name")
    if name not in board.databases.names():
        raise _Refused(404, f"Database {name} not found")
    board.select(asked.visitor, name)
    return {"message": f"Database {name} selected"}


# -- runs ----------------------------------------------------------------------------------------


def _run_document(run: RunInfo) -> dict[str, Any]:
    is_complete = run.status == COMPLETED
    return {
        "run_id": run.run_id,
        "name": run.name,
        "created_at": run.created_at,
        "status": run.status,
        "config": run.config,
        "num_records": run.num_records if is_complete else None,
        "metrics": run.metrics if is_complete else None,
    }


def _runs(_board: SimpleBoard, asked: _Asked) -> Any:
    return [] if asked.runs is None else [_run_document(run) for run in asked.runs.get_all_runs()]


def _run(_board: SimpleBoard, asked: _Asked) -> Any:
    return _run_document(asked.run)


def _create(_board: SimpleBoard, asked: _Asked) -> Any:
    name, config = asked.body.get("name"), asked.body.get("config")
    if not (name is None or isinstance(name, str)) or not (config is None or isinstance(config, dict)):
        raise _Refused(400, "'name' must be a text and 'config' an object")
    runs = asked.selected
    created = runs.get_run(runs.create_run(name, config))
    assert created is not None
    return _run_document(created)


def _delete(_board: SimpleBoard, asked: _Asked) -> Any:
    asked.selected.delete_run(asked.run.run_id)
    return {"message": f"Run {asked.run_id} deleted"}


def _set_status(_board: SimpleBoard, asked: _Asked) -> Any:
    runs, run_id, status = asked.selected, asked.run.run_id, asked.body.get("status")
    runs.update_run_status(run_id, status)  # type: ignore[arg-type]  # checked there, whatever it is
    return {"message": f"Run {run_id} status updated to {status}"}


# -- what a run logged ---------------------------------------------------------------------------


def _metrics(_board: SimpleBoard, asked: _Asked) -> Any:
    return {"run_id": asked.run.run_id, "metrics": asked.selected.get_metrics(asked.run_id)}


def _records(_board: SimpleBoard, asked: _Asked) -> Any:
    run, metric = asked.run, asked.query.get("metric_name")
    names = asked.selected.get_metrics(run.run_id) if metric is None else [metric]
    found = {name: _points(asked, run.run_id, name) for name in names}
    return {"run_id": run.run_id, "metrics": found, "smoothing": asked.smoothing}


def _points(asked: _Asked, run_id: int, metric: str) -> list[dict[str, Any]]:
    records = asked.selected.get_records(run_id, metric)
    points: list[dict[str, Any]] = [
        {"step": each.step, "value": each.value, "log_time": each.log_time} for each in records
    ]
    if asked.smoothing > 0:
        averages = _smoothed((each.value for each in records), asked.smoothing)
        for point, average in zip(points, averages, strict=True):
            point["smoothed"] = average
    return points


def _smoothed(values: Iterable[Any], weight: float) -> list[float | None]:
    """The exponential moving average, divided by the sum of its weights, so that it does not start at 0.

    A value that is not finite has no average, and the next one goes on from those before it.
    """
    averages: list[float | None] = []
    average, left = 0.0, 1.0
    for value in values:
        if not isinstance(value, int | float) or not math.isfinite(value):
            averages.append(None)
            continue
        average = weight * average + (1 - weight) * value
        left *= weight
        averages.append(average / (1 - left))
    return averages


def _graphs(_board: SimpleBoard, asked: _Asked) -> Any:
    return {"run_id": asked.run_id, "graphs": asked.selected.get_comp_graphs(asked.run_id)}


def _histograms(_board: SimpleBoard, asked: _Asked) -> Any:
    return {"run_id": asked.run_id, "histograms": _histograms_of(asked)}


def _images(_board: SimpleBoard, asked: _Asked) -> Any:
    fields = ("step", "width", "height", "channels", "data_b64", "log_time")
    return {"run_id": asked.run_id, "images": _picked(asked.selected.get_images(asked.run_id), fields)}


def _texts(_board: SimpleBoard, asked: _Asked) -> Any:
    return {"run_id": asked.run.run_id, "texts": _texts_of(asked)}


def _histograms_of(asked: _Asked) -> dict[str, Any]:
    fields = ("step", "bucket_edges", "bucket_counts", "log_time")
    return _picked(asked.selected.get_histograms(asked.run_id), fields)


def _texts_of(asked: _Asked) -> dict[str, Any]:
    return _picked(asked.selected.get_texts(asked.run_id), ("step", "content", "log_time"))


def _picked(media: Mapping[str, Iterable[Mapping[str, Any]]], fields: Sequence[str]) -> dict[str, Any]:
    return {name: [{each: entry[each] for each in fields} for entry in some] for name, some in media.items()}


def _summary(_board: SimpleBoard, asked: _Asked) -> Any:
    return {"run_id": asked.run.run_id, "metrics": asked.selected.get_metric_summary(asked.run_id)}


# -- several runs --------------------------------------------------------------------------------


def _compare(_board: SimpleBoard, asked: _Asked) -> Any:
    runs, metric = asked.selected, asked.query.get("metric")
    if not metric:
        raise _Refused(400, "Query param 'metric' is required")
    found = {}
    for text in asked.query.get("ids", "").split(","):
        run = runs.get_run(int(text)) if _NUMBER.fullmatch(text.strip()) else None
        if run is not None:
            found[str(run.run_id)] = {"name": run.name, "records": _points(asked, run.run_id, metric)}
    return {"metric": metric, "smoothing": asked.smoothing, "runs": found}


def _hparams(_board: SimpleBoard, asked: _Asked) -> Any:
    runs = asked.selected.runs
    summaries = runs.get_metric_summaries()
    # One may have come since, or gone.
    listed = [(run, summaries.get(run.run_id, {})) for run in runs.get_all_runs()]
    return {
        "hparam_keys": sorted({str(key) for run, _ in listed for key in run.config}),
        "metric_keys": sorted({name for _, summary in listed for name in summary}),
        "runs": [
            {
                "run_id": run.run_id,
                "name": run.name,
                "status": run.status,
                "created_at": run.created_at,
                "hparams": run.config,
                "metrics": summary,
            }
            for run, summary in listed
        ],
    }


# -- files ---------------------------------------------------------------------------------------


def _csv(_board: SimpleBoard, asked: _Asked) -> Any:
    run, metric = asked.run, asked.query.get("metric")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("metric", "step", "value", "wall_time"))
    for name in asked.selected.get_metrics(run.run_id) if metric is None else [metric]:
        for each in asked.selected.get_records(run.run_id, name):
            writer.writerow((name, each.step, each.value, each.log_time))
    return _file(text.getvalue(), f"run_{run.run_id}.csv", "text/csv")


def _export(_board: SimpleBoard, asked: _Asked) -> Any:
    run = asked.run
    document = {
        "run": _run_document(run),
        "metrics": {
            name: _points(asked, run.run_id, name) for name in asked.selected.get_metrics(run.run_id)
        },
        "summary": asked.selected.get_metric_summary(run.run_id),
        "histograms": _histograms_of(asked),
        "texts": _texts_of(asked),
        "graphs": asked.selected.get_comp_graphs(run.run_id),
    }
    content = orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2)
    return _file(content, f"run_{run.run_id}.json", "application/json")


def _file(content: str | bytes, name: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type=media_type)


class _Number(Convertor[str]):
    """Of a run in a path, which may have too many digits for one."""

    regex = "[0-9]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("run_number", _Number())

_RUN: Final = "/api/runs/{run_id:run_number}"

_ENDPOINTS: Final[Mapping[str, Mapping[str, _Endpoint]]] = {
    "/api/config": {"GET": _Endpoint(_config, needs_database=False)},
    "/api/config/exp-dir": {"PATCH": _Endpoint(_move, needs_database=False)},
    "/api/databases": {"GET": _Endpoint(_databases, needs_database=False)},
    "/api/databases/select": {"POST": _Endpoint(_select, needs_database=False)},
    "/api/runs": {"GET": _Endpoint(_runs), "POST": _Endpoint(_create, Role.WRITER, status=201)},
    "/api/runs/compare": {"GET": _Endpoint(_compare)},
    _RUN: {"GET": _Endpoint(_run), "DELETE": _Endpoint(_delete, Role.WRITER)},
    f"{_RUN}/status": {"PATCH": _Endpoint(_set_status, Role.WRITER)},
    f"{_RUN}/metrics": {"GET": _Endpoint(_metrics)},
    f"{_RUN}/records": {"GET": _Endpoint(_records)},
    f"{_RUN}/graphs": {"GET": _Endpoint(_graphs)},
    f"{_RUN}/histograms": {"GET": _Endpoint(_histograms)},
    f"{_RUN}/images": {"GET": _Endpoint(_images)},
    f"{_RUN}/texts": {"GET": _Endpoint(_texts)},
    f"{_RUN}/summary": {"GET": _Endpoint(_summary)},
    f"{_RUN}/records.csv": {"GET": _Endpoint(_csv)},
    f"{_RUN}/export.json": {"GET": _Endpoint(_export)},
    "/api/hparams": {"GET": _Endpoint(_hparams)},
}
