"""The older board's API: what its clients ask, answered as they expect it, on stores and on old databases."""

from __future__ import annotations

import base64
import csv
import http.client
import io
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra `board` is not installed")

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request

from older_databases import OlderDatabase
from track.persistence import get_protocol
from track.simpleboard import FolderDatabases, SimpleBoard, StoreDatabases
from track.simpleboard.databases import Databases
from track.tracker import Tracker
from track_protocol.board import IN_THREAD, VISITOR, Visitor
from track_protocol.wire.roles import Role
from track_server.board.threads import in_own_thread


class Admitting:
    """Lets everybody in, as what the headers of a request say."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = Request(scope).headers
        role = Role(headers.get("x-role", "admin"))
        scope.setdefault("state", {})[VISITOR] = Visitor(
            headers.get("x-guest", "ann"), role, role is Role.ADMIN
        )
        scope["state"][IN_THREAD] = in_own_thread
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Message
    content: bytes


@dataclass(frozen=True)
class Board:
    """A board that serves, and a client of it."""

    port: int

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, content, names)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        response = self.send(method, path, body, **headers)
        return response.status, json.loads(response.content, parse_constant=pytest.fail)

    def get(self, path: str, **headers: str) -> Any:
        status, answer = self.ask("GET", path, **headers)
        assert status == 200, answer
        return answer

    def select(self, name: str, **headers: str) -> None:
        assert self.ask("POST", "/api/databases/select", {"db_name": name}, **headers)[0] == 200


@pytest.fixture
def serve() -> Iterator[Any]:
    """Serves databases; gives a `Board`."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket, Databases]] = []

    def start(databases: Databases) -> Board:
        app = Admitting(Starlette(routes=SimpleBoard(databases).routes))
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        running.append((server, thread, listening, databases))
        return Board(listening.getsockname()[1])

    yield start
    for server, thread, listening, databases in running:
        server.should_exit = True
        thread.join()
        listening.close()
        databases.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an experiment of two runs, written by our tracker."""
    with Tracker(tmp_path) as tracker:
        tracker.set_experiment("mnist")
        tracker.start_run("first", {"lr": 0.1, "seed": float("nan")})
        for step, value in enumerate([4.0, float("nan"), 2.0, 1.0]):
            tracker.record("loss", value, step)
        tracker.record("acc", 0.5, 3)
        tracker.histogram("weights", [0.0, 1.0, 2.0, 3.0], 0, bins=2)
        tracker.image("digits", [[[0], [255]]], 1)
        tracker.text("note", "<b>hello</b>", 2)
        tracker.end_run()
        tracker.start_run("second", {"lr": 0.2, "layers": [1, 2]})
        tracker.record("loss", 3.0, 0)
    return tmp_path


@pytest.fixture
def board(serve: Any, folder: Path) -> Board:
    """A board of that folder, with its experiment selected."""
    started: Board = serve(FolderDatabases(folder))
    started.select("mnist.db")
    return started


def ids(board: Board) -> dict[str, int]:
    return {run["name"]: run["run_id"] for run in board.get("/api/runs")}


# -- databases -----------------------------------------------------------------------------------


def test_the_databases_of_a_folder_are_its_files(serve: Any, folder: Path) -> None:
    (folder / "notes.txt").touch()
    board = serve(FolderDatabases(folder))
    assert board.get("/api/databases") == {"available_databases": ["mnist.db"], "current_database": None}
    assert board.get("/api/config") == {"exp_dir": str(folder)}


def test_without_a_selected_database_there_are_no_runs_and_nothing_else_is_answered(
    serve: Any, folder: Path
) -> None:
    board = serve(FolderDatabases(folder))
    assert board.get("/api/runs") == []
    for path in ("/api/runs/1", "/api/runs/1/records", "/api/runs/1/graphs", "/api/hparams"):
        assert board.ask("GET", path) == (400, {"detail": "No database selected"})


def test_each_visitor_has_a_selection_of_its_own(board: Board) -> None:
    assert board.get("/api/databases", x_guest="ann")["current_database"] == "mnist.db"
    assert board.get("/api/databases", x_guest="bob")["current_database"] is None
    assert board.get("/api/runs", x_guest="bob") == []


@pytest.mark.parametrize("name", ["other.db", "../mnist.db", "/etc/passwd", "mnist"])
def test_only_a_listed_database_can_be_selected(board: Board, name: str) -> None:
    answer = board.ask("POST", "/api/databases/select", {"db_name": name})
    assert answer == (404, {"detail": f"Database {name} not found"})


def test_the_databases_of_a_store_are_its_projects(serve: Any, tmp_path: Path) -> None:
    protocol = get_protocol(f"sqlite:{tmp_path / 'store.db'}")
    tracker = Tracker(protocol)
    tracker.set_experiment("mnist")
    run = tracker.start_run("first", {"lr": 0.1})
    tracker.record("loss", 1.0, 0)
    tracker.end_run()
    board = serve(StoreDatabases(lambda: protocol))
    assert board.get("/api/databases")["available_databases"] == ["mnist.db"]
    board.select("mnist.db")
    assert [each["run_id"] for each in board.get("/api/runs")] == [run]
    assert board.ask("PATCH", "/api/config/exp-dir", {"path": "x"})[0] == 403
    protocol.close()


def test_another_folder_is_chosen_by_the_owner_below_the_first_one(board: Board, folder: Path) -> None:
    assert board.ask("PATCH", "/api/config/exp-dir", {"path": "new"}, x_role="reader")[0] == 403
    assert board.ask("PATCH", "/api/config/exp-dir", {}) == (400, {"detail": "'path' field is required"})
    for outside in ("..", "/etc", "new/../.."):
        assert board.ask("PATCH", "/api/config/exp-dir", {"path": outside})[0] == 403
    inside = str(folder / "new")
    assert board.ask("PATCH", "/api/config/exp-dir", {"path": "new"}) == (200, {"exp_dir": inside})
    assert os.path.isdir(inside)
    assert board.get("/api/databases") == {"available_databases": [], "current_database": None}
    assert board.ask("PATCH", "/api/config/exp-dir", {"path": str(folder)})[0] == 200


# -- runs ----------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_count_their_records_when_they_are_complete(board: Board) -> None:
    second, first = board.get("/api/runs")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first.pop("created_at"))
    assert first == {
        "run_id": 1,
        "name": "first",
        "status": "completed",
        "config": {"lr": 0.1, "seed": None},
        "num_records": [4, 1],
        "metrics": ["loss", "acc"],
    }
    assert (second["name"], second["config"]) == ("second", {"lr": 0.2, "layers": [1, 2]})
    assert board.get("/api/runs/1")["name"] == "first"


@pytest.mark.parametrize(
    "rest", ["", "/metrics", "/records", "/texts", "/summary", "/records.csv", "/export.json"]
)
def test_a_run_that_does_not_exist_is_not_found(board: Board, rest: str) -> None:
    assert board.ask("GET", f"/api/runs/99{rest}") == (404, {"detail": "Run 99 not found"})


def test_a_run_that_does_not_exist_has_no_graphs_histograms_or_images(board: Board) -> None:
    assert board.get("/api/runs/99/graphs") == {"run_id": 99, "graphs": []}
    assert board.get("/api/runs/99/histograms") == {"run_id": 99, "histograms": {}}
    assert board.get("/api/runs/99/images") == {"run_id": 99, "images": {}}


def test_a_run_is_made_changed_and_deleted(board: Board) -> None:
    status, made = board.ask("POST", "/api/runs", {"name": "third", "config": {"lr": 1}})
    assert (status, made["status"], made["config"], made["metrics"]) == (201, "running", {"lr": 1}, None)
    path = f"/api/runs/{made['run_id']}"
    answer = board.ask("PATCH", f"{path}/status", {"status": "failed"})
    assert answer == (200, {"message": f"Run {made['run_id']} status updated to failed"})
    assert board.get(path)["status"] == "failed"
    assert board.ask("PATCH", f"{path}/status", {"status": "happy"})[0] == 400
    assert board.ask("DELETE", path) == (200, {"message": f"Run {made['run_id']} deleted"})
    assert board.ask("DELETE", path)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/runs", {"name": "x"}),
        ("PATCH", "/api/runs/1/status", {"status": "failed"}),
        ("DELETE", "/api/runs/1", None),
    ],
)
def test_a_reader_changes_nothing(board: Board, method: str, path: str, body: Any) -> None:
    before = board.get("/api/runs")
    assert board.ask(method, path, body, x_role="reader")[0] == 403
    assert board.get("/api/runs") == before


@pytest.mark.parametrize("body", [b"{", b"[1]", {"name": 5}, {"config": [1]}])
def test_a_run_is_not_made_from_nonsense(board: Board, body: Any) -> None:
    before = board.get("/api/runs")
    assert board.ask("POST", "/api/runs", body)[0] == 400
    assert board.get("/api/runs") == before


# -- what a run logged ---------------------------------------------------------------------------


def test_records_are_told_by_metric_with_null_for_what_json_cannot_say(board: Board) -> None:
    answer = board.get("/api/runs/1/records")
    assert (answer["run_id"], answer["smoothing"], list(answer["metrics"])) == (1, 0.0, ["loss", "acc"])
    points = answer["metrics"]["loss"]
    assert [(point["step"], point["value"]) for point in points] == [(0, 4.0), (1, None), (2, 2.0), (3, 1.0)]
    assert all(set(point) == {"step", "value", "log_time"} for point in points)
    assert list(board.get("/api/runs/1/records?metric_name=acc")["metrics"]) == ["acc"]
    assert board.get("/api/runs/1/metrics") == {"run_id": 1, "metrics": ["loss", "acc"]}


def test_smoothing_is_the_debiased_average_of_all_finite_points(board: Board) -> None:
    points = board.get("/api/runs/1/records?metric_name=loss&smoothing=0.5")["metrics"]["loss"]
    smoothed = [point["smoothed"] for point in points]
    assert smoothed == [4.0, None, pytest.approx(8 / 3), pytest.approx(12 / 7)]


@pytest.mark.parametrize(
    ("given", "used"), [("2", 0.999), ("-1", 0.0), ("much", 0.0), ("nan", 0.0), ("inf", 0.0), ("0.9", 0.9)]
)
def test_smoothing_is_between_0_and_0_999(board: Board, given: str, used: float) -> None:
    assert board.get(f"/api/runs/1/records?smoothing={given}")["smoothing"] == used


def test_media_are_told_in_the_older_form(board: Board) -> None:
    (histogram,) = board.get("/api/runs/1/histograms")["histograms"]["weights"]
    assert set(histogram) == {"step", "bucket_edges", "bucket_counts", "log_time"}
    assert (histogram["bucket_edges"], histogram["bucket_counts"]) == ([0.0, 1.5, 3.0], [2, 2])
    (image,) = board.get("/api/runs/1/images")["images"]["digits"]
    assert set(image) == {"step", "width", "height", "channels", "data_b64", "log_time"}
    size = image["width"] * image["height"] * image["channels"]
    assert len(base64.b64decode(image["data_b64"])) == size
    (text,) = board.get("/api/runs/1/texts")["texts"]["note"]
    assert (text["step"], text["content"], set(text)) == (2, "<b>hello</b>", {"step", "content", "log_time"})


def test_a_summary_ignores_what_is_not_finite(board: Board) -> None:
    summary = board.get("/api/runs/1/summary")["metrics"]["loss"]
    mean, std = 7 / 3, ((25 + 1 + 16) / 27) ** 0.5
    assert summary == {
        "min": 1.0,
        "max": 4.0,
        "mean": pytest.approx(mean),
        "std": pytest.approx(std),
        "last": 1.0,
        "n": 4,
        "first_step": 0,
        "last_step": 3,
    }


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5_000])
def test_a_number_that_no_run_has_is_not_found_however_long_it_is(board: Board, number: str) -> None:
    status, answer = board.ask("GET", f"/api/runs/{number}")
    assert (status, *answer) == (404, "detail")
    assert board.ask("GET", f"/api/runs/compare?metric=loss&ids={number}")[1]["runs"] == {}


@pytest.mark.parametrize("number", ["%D9%A1", "-1", "1.0", "abc"])
def test_what_is_no_number_of_a_run_is_no_path_of_the_interface(board: Board, number: str) -> None:
    assert board.ask("DELETE", f"/api/runs/{number}") == (404, {"detail": "Not found"})
    assert board.send("GET", f"/api/runs/{number}").status == 405  # which the board answers with its page
    assert board.ask("GET", f"/api/runs/compare?metric=loss&ids={number}")[1]["runs"] == {}


def test_runs_are_compared_by_one_metric(board: Board) -> None:
    answer = board.get("/api/runs/compare?ids=1,x,2,99&metric=loss&smoothing=0.5")
    assert (answer["metric"], answer["smoothing"], list(answer["runs"])) == ("loss", 0.5, ["1", "2"])
    assert answer["runs"]["2"]["name"] == "second"
    assert [point["value"] for point in answer["runs"]["2"]["records"]] == [3.0]
    missing = board.ask("GET", "/api/runs/compare?ids=1")
    assert missing == (400, {"detail": "Query param 'metric' is required"})


def test_hparams_are_told_with_the_summaries(board: Board) -> None:
    answer = board.get("/api/hparams")
    assert (answer["hparam_keys"], answer["metric_keys"]) == (["layers", "lr", "seed"], ["acc", "loss"])
    second, first = answer["runs"]
    assert set(first) == {"run_id", "name", "status", "created_at", "hparams", "metrics"}
    assert (second["hparams"]["lr"], first["metrics"]["acc"]["n"]) == (0.2, 1)


def test_records_are_downloaded_as_csv(board: Board) -> None:
    response = board.send("GET", "/api/runs/1/records.csv?metric=acc")
    assert response.headers.get("content-type", "").startswith("text/csv")
    assert response.headers.get("content-disposition") == 'attachment; filename="run_1.csv"'
    text = response.content.decode()
    assert text.startswith("metric,step,value,wall_time\r\n")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["metric"], row["step"], row["value"]) == ("acc", "3", "0.5")


def test_a_run_is_downloaded_as_json(board: Board) -> None:
    response = board.send("GET", "/api/runs/1/export.json")
    assert response.headers.get("content-disposition") == 'attachment; filename="run_1.json"'
    text = response.content.decode()
    document = json.loads(text, parse_constant=pytest.fail)
    assert list(document) == ["run", "metrics", "summary", "histograms", "texts", "graphs"]
    assert text.startswith('{\n  "run"')


# -- everything else -----------------------------------------------------------------------------


def test_a_preflight_is_allowed_and_other_changes_are_not_found(board: Board) -> None:
    response = board.send("OPTIONS", "/api/runs")
    assert (response.status, response.content) == (200, b"")
    assert response.headers.get("access-control-allow-methods") == "GET, POST, PATCH, DELETE, OPTIONS"
    assert response.headers.get("access-control-allow-origin") is None
    for method in ("POST", "PATCH", "DELETE"):
        assert board.ask(method, "/api/nothing") == (404, {"detail": "Not found"})


# -- databases of the older system ---------------------------------------------------------------


@pytest.fixture
def older(tmp_path: Path) -> OlderDatabase:
    database = OlderDatabase(tmp_path / "old.db", media=True)
    database.add("first", 1.0, config={"lr": 0.1}, records=[("loss", 0, 2.0, 1.5), ("loss", 1, 1.0, 1.6)])
    return database


def test_a_database_of_the_older_system_is_read_and_never_changed(serve: Any, older: OlderDatabase) -> None:
    content = older.path.read_bytes()
    board = serve(FolderDatabases(older.path.parent))
    board.select("old.db")
    (run,) = board.get("/api/runs")
    assert (run["name"], run["metrics"], run["num_records"]) == ("first", ["loss"], [2])
    assert board.get("/api/runs/1/records")["metrics"]["loss"][1]["value"] == 1.0
    assert board.get("/api/runs/1/graphs") == {"run_id": 1, "graphs": []}
    for method, path, body in (
        ("POST", "/api/runs", {"name": "x"}),
        ("DELETE", "/api/runs/1", None),
        ("PATCH", "/api/runs/1/status", {"status": "failed"}),
    ):
        status, answer = board.ask(method, path, body)
        assert (status, "only read" in answer["detail"]) == (409, True)
    assert older.path.read_bytes() == content
    assert [path.name for path in older.path.parent.iterdir()] == ["old.db"]


def test_what_its_program_goes_on_to_write_is_seen(serve: Any, older: OlderDatabase) -> None:
    older.execute("PRAGMA journal_mode=WAL")
    board = serve(FolderDatabases(older.path.parent))
    board.select("old.db")
    assert len(board.get("/api/runs")) == 1
    older.add("second", 2.0)
    assert [run["name"] for run in board.get("/api/runs")] == ["second", "first"]


def test_a_damaged_database_says_so_and_the_others_go_on(serve: Any, folder: Path) -> None:
    (folder / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    board = serve(FolderDatabases(folder))
    board.select("broken.db")
    status, answer = board.ask("GET", "/api/runs")
    assert (status, "broken.db" in answer["detail"]) == (500, True)
    board.select("mnist.db")
    assert len(board.get("/api/runs")) == 2


def test_more_databases_than_are_open_at_once_can_be_read(serve: Any, tmp_path: Path) -> None:
    for number in range(12):
        OlderDatabase(tmp_path / f"{number}.db").add(f"run {number}")
    board = serve(FolderDatabases(tmp_path))
    for _ in range(2):
        for number in range(12):
            board.select(f"{number}.db")
            assert board.get("/api/runs/1")["name"] == f"run {number}"


class Noting(StoreDatabases):
    """Notes whether the end of the process waits for who asks."""

    def __init__(self) -> None:
        super().__init__(lambda: get_protocol("ephemeral:"), is_owner=True)
        self.waits: list[bool] = []

    def names(self) -> list[str]:
        self.waits.append(not threading.current_thread().daemon)
        return super().names()


def test_the_end_of_the_process_waits_for_no_request(serve: Any) -> None:
    databases = Noting()
    assert serve(databases).get("/api/databases")["available_databases"] == []
    assert set(databases.waits) == {False}
