"""What a request has to pass, and the headers of every answer, over real connections."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from board_visits import Visit, raw_request
from running_server import Served, serving
from track_protocol.errors import UsageError
from track_server.app import Settings
from track_server.http.settings import HttpSettings

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
FRAMED_BY = "https://notebook.example:8888"


@pytest.fixture
def behind(settings: Settings) -> Iterator[str]:
    """The URL of a board that a proxy of this machine shows, and that a notebook frames."""
    http = HttpSettings(
        port=0,
        names=frozenset({"board.example"}),
        prefix="/track",
        embed=FRAMED_BY,
        proxies=frozenset({"127.0.0.2"}),
    )
    with serving(replace(settings, http=http)) as served:
        assert served.server is not None
        assert served.server.board_url is not None
        yield served.server.board_url


@pytest.mark.parametrize("path", ["/", "/runs/1", "/app.js", "/api/v1/session", "/api/nothing", "/embed"])
def test_every_answer_has_the_headers_that_bind_a_browser(url: str, path: str) -> None:
    headers = Visit(url).get(path).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_a_refusal_has_these_headers_too(url: str) -> None:
    answer = Visit(url).get("/", Host="evil.example")
    assert answer.status == 421
    assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "LOCALHOST:9", "[::1]:8124"])
def test_a_name_of_this_machine_is_accepted_with_any_port(url: str, host: str) -> None:
    assert Visit(url).get("/api/v1/session", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost@evil", "[::2]"],
)
def test_another_host_is_refused_as_a_rebound_name_would_be(url: str, own: Visit, host: str) -> None:
    for path in ("/", "/api/v1/session"):
        answer = own.get(path, Host=host)
        assert (answer.status, answer.code) == (421, "host")


def test_a_request_without_a_host_is_refused(url: str) -> None:
    assert raw_request(url, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://evil@localhost"]
)
def test_another_origin_is_refused(url: str, own: Visit, origin: str) -> None:
    answer = own.call("fetch_projects", query={})
    assert answer.status == 200
    for path in ("/", "/api/v1/session"):
        answer = own.get(path, Origin=origin)
        assert (answer.status, answer.code) == (403, "cross-site")
    assert own.post("/api/v1/login", {}, Origin=origin).status == 403


def test_the_own_origin_is_accepted(url: str, own: Visit) -> None:
    place = urlsplit(url).netloc
    assert own.post("/api/v1/call/fetch_projects", {"query": {}}, Origin=f"http://{place}").status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_site_or_port_asks_the_interface_for_nothing(own: Visit, site: str) -> None:
    answer = own.get("/api/v1/session", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")
    assert (answer.status, answer.code) == (403, "cross-site")
    assert own.get("/app.js", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403


def test_a_link_of_another_site_leads_to_the_board(own: Visit) -> None:
    answer = own.get("/runs/1", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert answer.status != 403


def test_a_page_of_its_own_asks(own: Visit) -> None:
    assert own.get("/api/v1/session", Sec_Fetch_Site="same-origin").status == 200
    assert own.get("/api/v1/session", Sec_Fetch_Site="none").status == 200


def test_a_board_on_the_network_is_encrypted_and_wants_a_login(network: tuple[Served, str]) -> None:
    served, url = network
    port = urlsplit(url).port
    assert url.startswith("https://")
    visit = Visit(f"https://127.0.0.1:{port}/")
    connection = visit.connect()
    connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.version() == "TLSv1.3"
    connection.close()
    assert visit.log_in(uri=served.join("rita")).status == 200
    place = f"127.0.0.1:{port}"
    assert visit.get("/api/v1/session", Origin=f"https://{place}").status == 200
    assert visit.get("/api/v1/session", Origin=f"http://{place}").status == 403


def test_plain_text_on_the_port_of_an_encrypted_board_is_told_the_address(
    network: tuple[Served, str],
) -> None:
    _, url = network
    port = urlsplit(url).port
    answer = raw_request(f"http://127.0.0.1:{port}", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert f"https://{urlsplit(url).netloc}".encode() in answer


def test_a_browser_at_the_port_of_the_wire_is_told_where_the_board_is(served: Served, url: str) -> None:
    wire = f"http://{served.host}:{served.port}"
    answer = raw_request(wire, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.endswith(
        f"\r\n\r\nThis port of the server is for Track's clients: the board is at {url}\n".encode()
    )


def test_a_browser_at_the_port_of_the_wire_is_told_how_to_get_a_board(settings: Settings) -> None:
    for plaintext in (False, True):
        with serving(replace(settings, http=None, plaintext=plaintext)) as served:
            answer = raw_request(f"http://{served.host}:{served.port}", b"GET / HTTP/1.1\r\n\r\n")
            assert b"--http" in answer


def test_a_further_name_is_accepted(behind: str) -> None:
    assert Visit(behind).get("/api/v1/session", Host="board.example").status == 200
    assert Visit(behind).get("/api/v1/session", Host="other.example").status == 421


def test_a_prefix_is_taken_off(behind: str) -> None:
    assert behind.endswith("/track/")
    parts = urlsplit(behind)
    assert Visit(behind).get("/api/v1/session").status == 200
    bare = Visit(f"http://{parts.netloc}/").get("/track")
    assert (bare.status, bare.headers["location"]) == (307, "/track/")
    assert Visit(f"http://{parts.netloc}/").get("/api/v1/session").status == 200
    assert (
        Visit(f"http://{parts.netloc}/trackless/").get("/api/v1/session").headers["content-type"]
        != "application/json"
    )


def test_a_request_with_two_lengths_ends_its_connection(behind: str) -> None:
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\n"
    lengths = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    answer = raw_request(behind, head + lengths + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_only_the_page_to_be_framed_may_be_framed_and_by_one_origin_only(behind: str) -> None:
    framed = Visit(behind).get("/embed").headers["content-security-policy"]
    assert f"frame-ancestors {FRAMED_BY};" in framed
    # At any other address the page does not know that it is in a frame, and that it only reads there.
    for path in ("/runs", "/embedded", "/embed/", "/embed/runs", "/embed/../runs", "//embed"):
        assert "frame-ancestors 'none'" in Visit(behind).get(path).headers["content-security-policy"]


def test_forwarded_headers_count_from_the_named_proxy_only(behind: str) -> None:
    """A page of https is ours only if the proxy that says so is the one that was named."""

    def status(source: str) -> int:
        visit = Visit(behind, source=source)
        return visit.get(
            "/api/v1/session", Host="board.example", Origin="http://board.example", X_Forwarded_Proto="https"
        ).status

    assert status("127.0.0.2") == 403  # it is encrypted, so a page without encryption is another one
    assert status("127.0.0.1") == 200


def test_behind_a_proxy_nobody_is_the_own_user(behind: str) -> None:
    for source in ("127.0.0.1", "127.0.0.2"):
        visit = Visit(behind, source=source, extra={"X-Forwarded-For": "127.0.0.1"})
        assert visit.log_in().status == 401


@pytest.mark.parametrize("prefix", ["track", "/track/", "/"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="--http-prefix"):
        HttpSettings(prefix=prefix)


@pytest.mark.parametrize(
    "origin", ["*", "https://", "notebook.example", "https://a/b", "https://a; script-src *"]
)
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(UsageError, match="--embed"):
        HttpSettings(embed=origin)
