"""Who may see the board, and what keeps everybody else out."""

from __future__ import annotations

import asyncio
import base64
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from board_visits import SECONDS, Visit
from other_user import as_other_user, needs_two_users
from running_server import Served
from track_protocol.errors import AuthenticationError, TooBusy
from track_protocol.security.tokens import new_token
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore
from track_server.board.logins import Logins, NoAccounts, TooManyAttempts
from track_server.http.sessions import Codes, Login, SessionTable


def may_read(visit: Visit) -> bool:
    """Whether a visit is let in."""
    answer = visit.call("fetch_projects", query={})
    assert answer.status in (200, 401), answer.body
    return answer.status == 200


def without(visit: Visit, what: str) -> Visit:
    """The same visit without its key or cookie."""
    found = Visit(visit.url, visit.key, visit.cookie)
    setattr(found, what, None)
    return found


def test_the_own_user_of_this_machine_is_let_in_as_admin(url: str) -> None:
    visit = Visit(url)
    assert visit.get("/api/v1/session").json["login"] is False
    assert not may_read(visit)
    answer = visit.log_in()
    assert answer.json["role"] == "admin"
    assert may_read(visit)


@needs_two_users
def test_another_user_of_this_machine_is_not_let_in(url: str, own: Visit) -> None:
    def visits() -> None:
        visit = Visit(url)
        session = visit.get("/api/v1/session").json
        assert (session["login"], session["store"], session["uri"]) == (True, None, None)
        answer = visit.log_in()
        assert (answer.status, answer.code) == (401, "authentication")

    as_other_user(visits)


@needs_two_users
def test_a_session_of_the_own_user_serves_no_other_user(own: Visit) -> None:
    assert may_read(own)

    def visits() -> None:
        assert not may_read(own)

    as_other_user(visits)
    assert may_read(own)


@needs_two_users
def test_another_user_with_a_token_is_let_in_as_what_he_is(served: Served, url: str) -> None:
    token = UserStore(served.home).add("rita", Role.READER)

    def visits() -> None:
        visit = Visit(url)
        assert visit.log_in(name="rita", token=token).json["role"] == "reader"
        assert may_read(visit)

    as_other_user(visits)


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-ProxyContextPath",
        "X-Real-IP",
    ],
)
def test_a_proxy_of_the_own_user_lets_nobody_in(url: str, header: str) -> None:
    visit = Visit(url, extra={header: "127.0.0.1"})
    assert visit.log_in().status == 401
    assert visit.get("/api/v1/session").json["login"] is True


def test_a_cookie_opens_nothing_without_its_key_and_a_key_nothing_without_its_cookie(own: Visit) -> None:
    assert may_read(own)
    assert not may_read(without(own, "key"))
    assert not may_read(without(own, "cookie"))


def test_the_key_of_another_session_does_not_go_with_a_cookie(own: Visit, reader: Visit) -> None:
    assert not may_read(Visit(own.url, reader.key, own.cookie))


def test_a_cookie_is_for_this_host_and_its_own_pages_only(url: str) -> None:
    header = Visit(url).log_in().headers["set-cookie"]
    name, _, rest = header.partition("=")
    assert name == f"__Host-track-{urlsplit(url).port}"
    assert {each.strip() for each in rest.split(";")[1:]} == {
        "Path=/",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
        "Max-Age=2592000",
    }


def test_a_logout_ends_the_session(own: Visit) -> None:
    answer = own.post("/api/v1/logout")
    assert answer.status == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not may_read(own)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "rita"},
        {"name": "rita", "token": 1},
        {"code": "a", "name": "rita"},
        {"embed": "yes"},
        {"uri": "socket://rita:x@localhost", "code": ""},
    ],
)
def test_a_login_that_is_none_is_refused(url: str, given: dict[str, object]) -> None:
    assert Visit(url).log_in(**given).status == 400


def test_a_join_uri_logs_in(served: Served, url: str) -> None:
    visit = Visit(url)
    assert visit.log_in(uri=served.join("rita", Role.READER)).json == {
        "key": visit.key,
        "user": "rita",
        "role": "reader",
    }


def test_a_script_logs_in_with_name_and_token(served: Served, url: str) -> None:
    def says(name: str, token: str) -> Visit:
        encoded = base64.b64encode(f"{name}:{token}".encode()).decode()
        return Visit(url, extra={"Authorization": f"Basic {encoded}"})

    token = UserStore(served.home).add("rita", Role.READER)
    assert may_read(says("rita", token))
    assert not may_read(says("rita", new_token()))
    assert not may_read(Visit(url, extra={"Authorization": "Bearer x"}))


def test_a_user_who_is_removed_or_changed_is_out_at_once(served: Served, reader: Visit) -> None:
    assert may_read(reader)
    UserStore(served.home).remove("rita")
    assert not may_read(reader)
    UserStore(served.home).add("rita", Role.READER)
    assert not may_read(reader)


def test_a_user_who_was_removed_and_added_again_is_another(served: Served, reader: Visit) -> None:
    UserStore(served.home).remove("rita")
    UserStore(served.home).add("rita", Role.ADMIN)
    assert not may_read(reader)


def test_a_user_who_does_not_exist_is_refused_like_a_wrong_token(served: Served, url: str) -> None:
    UserStore(served.home).add("rita", Role.READER)
    unknown, wrong = (Visit(url).log_in(name=name, token=new_token()) for name in ("nobody", "rita"))
    assert (unknown.status, unknown.body) == (wrong.status, wrong.body)


def test_wrong_logins_of_a_name_make_their_address_wait_and_with_no_other_name(
    served: Served, url: str
) -> None:
    token = UserStore(served.home).add("rita", Role.READER)
    visit = Visit(url)
    statuses = [visit.log_in(name="rita", token=new_token()).status for _ in range(10)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    refused = visit.log_in(name="rita", token=token)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert visit.log_in(name="will", token=UserStore(served.home).add("will", Role.WRITER)).status == 200


def test_everybody_is_logged_out_by_another_process(served: Served, own: Visit, reader: Visit) -> None:
    table = SessionTable(served.home / "board.db")
    assert table.clear() == 2
    table.release()
    assert not may_read(own)
    assert not may_read(reader)


def test_only_hashes_of_a_session_are_stored(served: Served, own: Visit) -> None:
    assert own.key is not None
    assert own.cookie is not None
    stored = b"".join(path.read_bytes() for path in served.home.glob("board.db*"))
    assert stored
    assert own.key.encode() not in stored
    assert own.cookie.partition("=")[2].encode() not in stored
    assert (served.home / "board.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("rename_trial", {"trial": "0" * 32, "name": "x"}),
        ("delete_trial", {"trial": "0" * 32}),
        ("new_project", {"project": {"uid": "p", "name": "p", "metadata": {}}}),
        ("set_project_metadata", {"project": "p", "metadata": {}}),
    ],
)
def test_a_reader_writes_nothing_and_a_writer_does(
    reader: Visit, writer: Visit, method: str, arguments: dict[str, object]
) -> None:
    assert reader.call(method, **arguments).status == 403
    assert writer.call(method, **arguments).status in (200, 404)


def test_a_page_in_a_frame_has_a_session_that_only_reads(url: str) -> None:
    framed, own = Visit(url), Visit(url)
    assert framed.log_in(embed=True).json["role"] == "reader"
    assert own.log_in().json["role"] == "admin"
    both = f"{own.cookie}; {framed.cookie}"
    assert framed.cookie != own.cookie
    for visit in (framed, own):
        visit.cookie = both
    assert framed.call("delete_trial", trial="0" * 32).status == 403
    assert own.call("delete_trial", trial="0" * 32).status == 200


class _Slow:
    """An account whose check lasts until the test ends it."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.began = threading.Event()
        self.checks = 0

    def verifier(self, name: str) -> tuple[Login, Any]:
        return Login(name, Role.READER), self

    def named(self, token: str) -> str | None:
        return None

    def current(self, login: Login) -> Role | None:
        return login.role

    def matches(self, token: str) -> bool:
        self.checks += 1
        self.began.set()
        return self.may_end.wait(SECONDS)


async def test_a_login_is_checked_beside_the_event_loop() -> None:
    slow = _Slow()
    logins = Logins(slow, Role.ADMIN, Codes())
    login = asyncio.create_task(logins.check("rita", "token"))
    while not slow.began.is_set():  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.01)
    assert not login.done()
    slow.may_end.set()
    assert (await login).user == "rita"
    logins.close()


async def test_logins_that_wait_for_their_check_are_limited() -> None:
    slow = _Slow()
    logins = Logins(slow, Role.ADMIN, Codes())
    waiting = [asyncio.create_task(logins.check(f"user{number}", "token")) for number in range(16)]
    await asyncio.sleep(0)
    with pytest.raises(TooBusy):
        await logins.check("rita", "token")
    slow.may_end.set()
    assert len(await asyncio.gather(*waiting)) == 16
    logins.close()


async def test_guesses_of_one_name_at_once_are_not_all_checked() -> None:
    slow = _Slow()
    logins = Logins(slow, Role.ADMIN, Codes())
    guesses = [asyncio.create_task(logins.check("rita", f"token{number}")) for number in range(10)]
    await asyncio.sleep(0)
    slow.may_end.set()
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert any(isinstance(each, TooManyAttempts) for each in outcomes)
    logins.close()


async def test_a_code_logs_in_once() -> None:
    logins = Logins(NoAccounts(), Role.ADMIN, Codes())
    code = logins.own_code()
    assert (await logins.login({"code": code}, is_own_user=False)).role is Role.ADMIN
    with pytest.raises(AuthenticationError, match="used"):
        await logins.login({"code": code}, is_own_user=False)
    logins.close()


def bearing(url: str, token: str) -> Visit:
    return Visit(url, extra={"Authorization": f"Bearer {token}"})


def test_a_generated_token_alone_names_its_user(served: Served, url: str) -> None:
    users = UserStore(served.home)
    rita, will = (users.add(name, role) for name, role in (("rita", Role.READER), ("will", Role.WRITER)))
    assert bearing(url, rita).get("/api/v1/session").json["user"] == "rita"
    assert bearing(url, will).call("delete_trial", trial="0" * 32).status == 200
    assert bearing(url, rita).call("delete_trial", trial="0" * 32).status == 403
    for other in (new_token(), "", "rita", rita[:-1] + "a"):
        assert not may_read(bearing(url, other))
        assert bearing(url, other).get("/api/v1/session").status == 401


def test_a_password_alone_names_nobody(served: Served, url: str) -> None:
    UserStore(served.home).add("rita", Role.READER, "correct horse")
    assert not may_read(bearing(url, "correct horse"))


def test_a_script_whose_user_is_removed_or_changed_is_out_at_once(served: Served, url: str) -> None:
    users = UserStore(served.home)
    script = bearing(url, users.add("rita", Role.WRITER))
    with script.listening() as events:
        assert may_read(script)
        users.remove("rita")
        assert not may_read(script)
        assert [name for name, *_ in events if name] == []
    users.add("rita", Role.WRITER)
    assert not may_read(script)


def test_a_script_with_a_token_hears_of_changes(served: Served, url: str) -> None:
    script = bearing(url, UserStore(served.home).add("will", Role.WRITER))
    with script.listening() as events:
        project = {"uid": "p", "name": "p", "metadata": {}}
        assert script.call("new_project", project=project).status == 200
        assert next(data for name, _, data in events if name)["projects"] == ["p"]


def test_who_guesses_keeps_the_user_out_from_no_other_address(network: tuple[Served, str]) -> None:
    served, url = network
    token = UserStore(served.home).add("rita", Role.READER)
    guesser, rita = Visit(url, source="127.0.0.1"), Visit(url, source="127.0.0.2")
    for visit in (guesser, rita):
        visit.extra = {"Host": "localhost"}
    statuses = [guesser.log_in(name="rita", token=new_token()).status for _ in range(10)]
    assert statuses[-1] == 429
    assert rita.log_in(name="rita", token=token).status == 200


async def test_one_token_is_checked_once_however_often_it_is_sent() -> None:
    slow = _Slow()
    logins = Logins(slow, Role.ADMIN, Codes())
    asked = [asyncio.create_task(logins.check("rita", "token")) for _ in range(50)]
    await asyncio.sleep(0)
    slow.may_end.set()
    assert {each.user for each in await asyncio.gather(*asked)} == {"rita"}
    await logins.check("rita", "token")
    assert slow.checks == 1
    logins.close()
