"""The board's interface, over real connections to a real server."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from board_visits import Visit
from track import TrackClient


def trial_of(client: TrackClient, **values: Any) -> str:
    """Log a trial with a metric, and return its id as JSON has it."""
    trial = client.new_trial(force=True, name="first", arguments={"lr": 0.1})
    trial.start()
    for step, value in enumerate((1.0, math.nan, math.inf)):
        trial.log_metrics(step=step, loss=value)
    trial.finish()
    client.save()
    assert trial.trial.id is not None
    return trial.trial.id.hex()


def test_a_read_is_answered_with_json_in_which_numbers_that_are_not_finite_are_texts(
    own: Visit, client: TrackClient
) -> None:
    trial = trial_of(client)
    answer = own.call("fetch_trials", query={})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    (found,) = answer.json
    assert found["id"] == trial
    assert found["metrics"]["loss"]["last"] == "Infinity"
    assert own.call("fetch_metrics", trial=trial, name="loss").json["values"] == [1.0, "NaN", "Infinity"]


def test_a_table_of_trials_needs_no_code_of_its_own(own: Visit, client: TrackClient) -> None:
    trial = trial_of(client)
    table = own.call(
        "fetch_table", query={}, columns=["parameters.lr", "metrics.loss.min"], order=["-created"]
    )
    assert table.json["ids"] == [trial]
    assert table.json["columns"][0] == [0.1]
    rows = own.call("fetch_rows", trials=[trial, "0" * 32], columns=["name"])
    assert rows.json["ids"] == [trial]


def test_an_id_in_a_query_is_written_in_hexadecimal_digits(own: Visit, client: TrackClient) -> None:
    trial = trial_of(client)
    assert len(own.call("fetch_trials", query={"id": {"$in": [trial]}}).json) == 1
    assert len(own.call("fetch_trials", query={"$not": {"id": trial}}).json) == 0


def test_an_operand_may_be_infinite(own: Visit, client: TrackClient) -> None:
    trial_of(client)
    assert len(own.call("fetch_trials", query={"parameters.lr": {"$lt": "Infinity"}}).json) == 1


def test_a_filter_becomes_a_query(own: Visit, client: TrackClient) -> None:
    trial = trial_of(client)
    answer = own.post("/api/v1/filter", {"filter": "lr < 0.2 and status = completed", "project": None})
    assert answer.status == 200
    assert [each["id"] for each in own.call("fetch_trials", query=answer.json["query"]).json] == [trial]


def test_an_error_in_a_filter_names_its_place_and_suggests_a_name(own: Visit, client: TrackClient) -> None:
    trial_of(client)
    answer = own.post("/api/v1/filter", {"filter": "lr > 0 and lrr < 1"})
    assert answer.status == 400
    assert (answer.json["error"]["at"], answer.json["error"]["suggestion"]) == (11, "lr")


def test_a_filter_of_a_project_selects_trials_of_it_only(own: Visit, client: TrackClient) -> None:
    client.set_project(name="vision")
    trial = trial_of(client)
    (project,) = own.call("fetch_projects", query={}).json
    query = own.post("/api/v1/filter", {"filter": "", "project": project["uid"]}).json["query"]
    assert [each["id"] for each in own.call("fetch_trials", query=query).json] == [trial]
    other = own.post("/api/v1/filter", {"filter": "lr > 0", "project": "another"}).json["query"]
    assert own.call("fetch_trials", query=other).json == []


@pytest.mark.parametrize(
    ("method", "arguments", "status", "code"),
    [
        ("no_such_call", {}, 404, "unknown-method"),
        ("fetch_and_update_trial", {"query": {}, "update": {}}, 404, "unknown-method"),
        ("fetch_trials", {}, 400, "bad-arguments"),
        ("fetch_trials", {"query": {"nonsense": 1}}, 400, "bad-query"),
        ("fetch_metrics", {"trial": "0" * 32, "name": "loss"}, 404, "not-found"),
        ("rename_trial", {"trial": "0" * 32, "name": "x"}, 404, "not-found"),
        ("set_project_metadata", {"project": "none", "metadata": {}}, 404, "not-found"),
    ],
)
def test_an_error_has_a_status_and_the_code_of_the_wire(
    own: Visit, method: str, arguments: dict[str, Any], status: int, code: str
) -> None:
    answer = own.call(method, **arguments)
    assert (answer.status, answer.code) == (status, code)


def test_a_call_that_cannot_be_made_leaves_nothing_in_quarantine(own: Visit) -> None:
    own.call("rename_trial", trial="0" * 32, name="x")
    own.call("add_group_trial", group="none", trial="0" * 32)
    assert own.call("fetch_rejected").json == []


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"query": NaN}', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(own: Visit, body: bytes) -> None:
    assert own.ask("POST", "/api/v1/call/fetch_trials", body).status == 400


def test_a_body_of_another_type_is_refused_so_that_a_form_of_another_site_cannot_send_it(own: Visit) -> None:
    answer = own.post("/api/v1/call/fetch_projects", {"query": {}}, Content_Type="text/plain")
    assert answer.status == 400


def announcing(visit: Visit, path: str, nbytes: int) -> int:
    """The status of a request that announces a body and waits for the answer first."""
    connection = visit.connect()
    headers = visit.headers(Content_Type="application/json", Content_Length=str(nbytes))
    connection.putrequest("POST", path)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_long_body_is_refused_before_it_is_read(own: Visit) -> None:
    assert announcing(own, "/api/v1/call/fetch_trials", 4 * 1024 * 1024 + 1) == 413
    assert announcing(Visit(own.url), "/api/v1/login", 16 * 1024 + 1) == 413


def test_a_long_body_that_does_not_say_so_is_refused(own: Visit) -> None:
    connection = own.connect()
    connection.putrequest("POST", "/api/v1/login")
    for name, value in own.headers(Content_Type="application/json", Transfer_Encoding="chunked").items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"%x\r\n" % (16 * 1024 + 1) + bytes(16 * 1024 + 1))  # and no end
    assert connection.getresponse().status == 413
    connection.close()


def test_a_write_that_is_sent_again_under_its_key_is_made_once(own: Visit) -> None:
    def once() -> Any:
        path, body = "/api/v1/call/new_project", {"project": {"uid": "p", "name": "vision", "metadata": {}}}
        return own.post(path, body, Idempotency_Key="a").body

    first = once()
    assert once() == first
    other = own.post("/api/v1/call/delete_trial", {"trial": "0" * 32}, Idempotency_Key="a")
    assert other.json is False


def test_notes_tags_and_status_of_a_trial_are_changed(own: Visit, client: TrackClient) -> None:
    trial = trial_of(client)
    assert own.call("rename_trial", trial=trial, name="second", description="*note*").status == 200
    assert own.call("add_trial_tags", trial=trial, tags={"team": "red"}).status == 200
    assert own.call("log_trial_metadata", trial=trial, metadata={"hidden": True}).status == 200
    status = {"value": 301, "name": "Broken"}
    assert own.call("set_trial_status", trial=trial, status=status).status == 200
    (found,) = own.call("fetch_trials", query={"id": trial}).json
    assert (found["name"], found["description"], found["tags"]) == ("second", "*note*", {"team": "red"})
    assert found["metadata"]["hidden"] is True
    assert own.call("remove_trial_tags", trial=trial, names=["team"]).status == 200
    assert own.call("delete_trial", trial=trial).json is True
    assert own.call("fetch_trials", query={}).json == []


def test_a_group_made_by_a_page_is_the_one_that_a_script_of_the_same_name_gets(
    own: Visit, client: TrackClient
) -> None:
    client.set_project("vision", force=True)
    trial = trial_of(client)
    made = own.call("new_trial_group", group={"name": "sweep", "project_id": "vision"})
    assert made.status == 200
    assert own.call("add_group_trial", group=made.json["uid"], trial=trial).status == 200
    assert client.set_group(name="sweep", get_only=True).uid == made.json["uid"]
    assert own.call("new_trial_group", group={"name": 3, "project_id": "vision"}).status == 400


def test_views_of_a_project_are_saved(own: Visit, client: TrackClient) -> None:
    client.set_project(name="vision")
    client.save()
    (project,) = own.call("fetch_projects", query={}).json
    views = {"v": {"name": "best", "state": {}}}
    answer = own.call("set_project_metadata", project=project["uid"], metadata={"views": views})
    assert answer.status == 200
    (project,) = own.call("fetch_projects", query={}).json
    assert project["metadata"]["views"] == views


def test_nothing_is_at_an_unknown_address_of_the_interface(own: Visit) -> None:
    assert json.loads(own.get("/api/v1/nothing").body)["error"]["code"] == "not-found"
    assert own.post("/api/v1/runs").json["error"]["code"] == "not-found"


def test_what_simpleboard_does_not_know_is_answered_with_its_page(own: Visit) -> None:
    page = own.get("/")
    for path in ("/api/unknown", "/api/runs/abc", "/api/databases/select", "/api/a/b.js"):
        answer = own.get(path)
        assert (answer.status, answer.body) == (page.status, page.body), path
    assert own.post("/api/unknown").json == {"detail": "Not found"}


def stored_blob(own: Visit, client: TrackClient, tmp_path: Path, data: bytes) -> str:
    """Store a file with a trial; returns its digest."""
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    trial = client.new_trial(force=True, arguments={"lr": 0.1})
    trial.log_file(path)
    client.save()
    digest = hashlib.sha256(data).hexdigest()
    assert own.call("fetch_blob", digest=digest).status == 200
    return digest


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html><script>alert(1)</script>", None),
        (bytes(range(256)) * 2_000, None),
    ],
)
def test_a_blob_is_shown_only_if_its_first_bytes_are_those_of_an_image(
    own: Visit, client: TrackClient, tmp_path: Path, data: bytes, kind: str | None
) -> None:
    answer = own.get(f"/api/v1/blob/{stored_blob(own, client, tmp_path, data)}")
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-type"] == (kind or "application/octet-stream")
    assert (answer.headers["content-disposition"] is None) == (kind is not None)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_blob_that_is_none_is_not_found(own: Visit, url: str) -> None:
    assert own.get(f"/api/v1/blob/{'0' * 64}").status == 404
    assert own.get("/api/v1/blob/..%2f..%2fetc").status in (400, 404)
    assert own.get("/api/v1/blob/abc").status == 400
    assert Visit(url).get(f"/api/v1/blob/{'0' * 64}").status == 401


def test_a_body_that_does_not_come_ends_its_request(own: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.board.answers._BODY_S", 0.2)
    connection = own.connect()
    connection.putrequest("POST", "/api/v1/call/fetch_trials")
    for name, value in own.headers(Content_Type="application/json", Content_Length="100").items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b'{"query":')
    assert connection.getresponse().status == 400
    connection.close()


def test_columns_come_in_the_form_that_a_browser_reads_in_place(own: Visit, client: TrackClient) -> None:
    trial = trial_of(client)
    answer = own.call(
        "fetch_columns", series=[[trial, "metric", "loss"], [trial, "metric", "none"]], axis="step", width=10
    )
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/x-track-columns"
    length = int.from_bytes(answer.body[:4], "little")
    found, missing = json.loads(answer.body[4 : 4 + length])["series"]
    assert missing is None
    assert found["n"] > 0
    whole = [column for column in found["arrays"] if isinstance(column, str)]
    alike = [column for column in found["arrays"] if isinstance(column, list) and len(column) == 1]
    numbers = found["n"] * len(whole) + len(alike)
    assert len(answer.body) == 4 + length + -(4 + length) % 8 + 8 * numbers


@pytest.mark.parametrize("depth", [100, 400, 900])
def test_a_query_that_is_nested_too_deep_is_refused(own: Visit, depth: int) -> None:
    query = b'{"$not":' * depth + b"{}" + b"}" * depth
    answer = own.ask("POST", "/api/v1/call/fetch_trials", b'{"query":' + query + b"}")
    assert answer.status == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("filter", b'{"filter": "", "project": "\\ud800"}', 200),
        ("login", b'{"code": "\\ud800"}', 401),
        ("login", b'{"name": "\\ud800", "token": "\\ud800"}', 401),
        ("login", b'{"uri": "\\ud800"}', 400),
        ("call/fetch_trials", b'{"query": {"name": "\\ud800"}}', 400),
    ],
)
def test_a_text_that_utf_8_cannot_encode_is_answered_like_any_other(
    own: Visit, path: str, body: bytes, status: int
) -> None:
    assert own.ask("POST", f"/api/v1/{path}", body).status == status


def test_an_answer_of_a_read_is_not_remembered_under_a_key(own: Visit, client: TrackClient) -> None:
    def count() -> int:
        body: dict[str, Any] = {"query": {}}
        return len(own.post("/api/v1/call/fetch_trials", body, Idempotency_Key="a").json)

    assert count() == 0
    trial_of(client)
    assert count() == 1
