"""Requests of other interfaces than the board's own: who sends them is known before they are answered."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from board_visits import SECONDS, Visit
from http_service import listening
from other_user import as_other_user, needs_two_users
from track_protocol.board import VISITOR
from track_protocol.errors import UnknownMethod
from track_protocol.security.tokens import new_token
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.board.answers import BODY_LIMIT
from track_server.board.logins import Logins, UserAccounts
from track_server.board.routes import application
from track_server.board.stores import Shown, Stores
from track_server.board.visitors import Visitors
from track_server.http.files import Pages
from track_server.http.guard import Guard, Rules
from track_server.http.listener import HttpLimits
from track_server.http.sessions import Codes, SessionTable

MOST = 12
"""Connections of one user."""


class NoStore:
    """Calls that are not made here."""

    fault: str | None = None

    async def call(self, user: str, method: str, arguments: object) -> object:
        raise UnknownMethod(method)

    async def log(self, user: str, method: str, arguments: object) -> None:
        raise UnknownMethod(method)

    async def changed(self) -> None:
        raise UnknownMethod("changed")


async def who(request: Request) -> JSONResponse:
    visitor = request.scope["state"][VISITOR]
    return JSONResponse([str(visitor.key[0]), str(visitor.role), visitor.is_owner])


async def key_of(request: Request) -> JSONResponse:
    return JSONResponse(request.scope["state"][VISITOR].key[1])


async def length_of(request: Request) -> JSONResponse:
    return JSONResponse(len(await request.body()))


class Gate:
    """Requests that wait in threads until they may go on."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    async def pass_through(self, request: Request) -> JSONResponse:
        self.entered.release()
        return JSONResponse(await run_in_threadpool(self.opened.wait, SECONDS))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def users(tmp_path: Path) -> UserStore:
    return UserStore(tmp_path / "home")


@pytest.fixture
def url(users: UserStore, tmp_path: Path, gate: Gate) -> Iterator[str]:
    logins = Logins(UserAccounts(users), Role.ADMIN, Codes())
    app = application(
        Stores(Shown("ephemeral:", "ephemeral:", NoStore())),
        Visitors(SessionTable(tmp_path / "board.db"), logins, 1),
        "1",
        Pages(tmp_path),
        [
            Route("/api/who", who, methods=["GET", "POST"]),
            Route("/api/key", key_of),
            Route("/api/length", length_of, methods=["POST"]),
            Route("/api/gate", gate.pass_through),
        ],
    )
    with listening(Guard(app, Rules()), limits=HttpLimits(connections_per_user=MOST)) as url:
        yield url
    logins.close()


def test_the_own_user_needs_no_key(url: str) -> None:
    user, role, is_owner = Visit(url).get("/api/who").json
    assert user.startswith("local-")
    assert (role, is_owner) == ("admin", True)


def test_a_script_says_who_it_is(users: UserStore, url: str) -> None:
    def says(token: str) -> Visit:
        encoded = base64.b64encode(f"rita:{token}".encode()).decode()
        return Visit(url, extra={"Authorization": f"Basic {encoded}"})

    assert says(users.add("rita", Role.READER)).get("/api/who").json == ["rita", "reader", True]
    assert says(new_token()).get("/api/who").status == 401


def test_a_session_says_who_it_is(users: UserStore, url: str) -> None:
    visit = Visit(url)
    visit.log_in(name="rita", token=users.add("rita", Role.WRITER))
    assert visit.get("/api/who").json[:2] == ["rita", "writer"]


@needs_two_users
def test_another_user_without_a_login_is_refused(users: UserStore, url: str) -> None:
    def visits() -> None:
        refused = Visit(url).get("/api/who")
        assert refused.status == 401
        assert refused.json["detail"] == refused.json["error"]["message"]  # for SimpleBoard's clients
        assert Visit(url).get("/api/nothing").status == 401

    as_other_user(visits)


def test_a_page_of_another_port_is_refused_though_its_browser_is_the_own_users(url: str) -> None:
    assert Visit(url).post("/api/who", {}, Sec_Fetch_Site="same-site").status == 403
    assert Visit(url).post("/api/who", {}, Origin="http://localhost:1").status == 403


def test_a_key_that_is_of_no_session_makes_no_other_visitor(url: str) -> None:
    keys = {Visit(url, key).get("/api/key").body for key in (None, "a", "b")}
    assert keys == {b"null"}


def test_a_long_body_is_refused(url: str) -> None:
    assert Visit(url).post("/api/length", "a" * 1_000).json == 1_002
    connection = Visit(url).connect()
    connection.putrequest("POST", "/api/length")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders(b"%x\r\n" % (BODY_LIMIT + 1) + bytes(BODY_LIMIT + 1))  # and no end
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_does_not_come_ends_its_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_server.board.answers._BODY_S", 0.2)
    connection = Visit(url).connect()
    connection.putrequest("POST", "/api/length")
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 400
    connection.close()


def test_one_user_does_not_take_all_connections(users: UserStore, url: str) -> None:
    token = users.add("rita", Role.READER)
    rita = Visit(url, extra={"Authorization": f"Bearer {token}"})
    with ExitStack() as held:
        answers = [_kept_open(rita, held) for _ in range(MOST + 2)]
        assert [answer.status for answer in answers] == [200] * MOST + [429] * 2
        refused = answers[-1]
        assert "connections open" in json.loads(refused.read())["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["connection"] == "close"
        # Others find connections, and so does he once some of his have ended.
        assert Visit(url).get("/api/who").status == 200
    with ExitStack() as held:
        assert _kept_open(rita, held).status == 200


def _kept_open(visit: Visit, held: ExitStack) -> HTTPResponse:
    """The answer to a request whose connection stays open until the end."""
    connection = visit.connect()
    held.callback(connection.close)
    connection.request("GET", "/api/who", headers=visit.headers())
    answer = connection.getresponse()
    if answer.status == 200:
        answer.read()
    return answer


def test_requests_of_one_user_take_turns_and_leave_threads_to_others(
    users: UserStore, url: str, gate: Gate
) -> None:
    rita = Visit(url, extra={"Authorization": f"Bearer {users.add('rita', Role.READER)}"})
    with ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(rita.get, "/api/gate") for _ in range(10)]
        for _ in range(4):
            assert gate.entered.acquire(timeout=SECONDS)
        assert Visit(url).get("/api/who").status == 200
        assert not gate.entered.acquire(blocking=False)
        gate.opened.set()
        assert {each.result(SECONDS).status for each in asked} == {200}
