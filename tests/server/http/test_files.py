"""The board's pages, over a real connection to an application that has only them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from board_visits import Visit
from http_service import listening
from track_server.http.files import Pages

SHELL = b'<script type="module" src="/app.js"></script><link rel="stylesheet" href="/app.css">'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "licences").mkdir(parents=True)
    (folder / "index.html").write_bytes(SHELL)
    (folder / "app.js").write_bytes(b"let a = 1;\n" * 1_000)
    (folder / "licences" / "x.txt").write_text("licence")
    (folder / ".hidden").write_text("secret")
    (tmp_path / "outside.txt").write_text("secret")
    return folder


def serving(pages: Pages) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", pages.answer)])


@pytest.fixture
def visit(folder: Path) -> Iterator[Visit]:
    with listening(serving(Pages(folder))) as url:
        yield Visit(url)


@pytest.mark.parametrize("path", ["/", "/index.html", "/runs", "/q?x=1.5", "/embed"])
def test_a_name_without_a_dot_answers_the_shell(visit: Visit, path: str) -> None:
    answer = visit.get(path)
    assert (answer.status, answer.body) == (200, SHELL)
    assert answer.headers["content-type"].startswith("text/html")


def test_a_folder_that_is_none_is_not_found(visit: Visit) -> None:
    answer = visit.get("/runs/abc")
    assert (answer.status, b"no such page" in answer.body) == (404, True)


def test_a_file_has_its_type_and_is_compressed_for_who_takes_that(visit: Visit, folder: Path) -> None:
    script = (folder / "app.js").read_bytes()
    plain, compressed = visit.get("/app.js"), visit.get("/app.js", Accept_Encoding="gzip, br")
    assert plain.body == gzip.decompress(compressed.body) == script
    assert compressed.headers["content-encoding"] == "gzip"
    assert plain.headers["content-type"].startswith("text/javascript")
    assert visit.get("/licences/x.txt").body == b"licence"


def test_a_browser_that_has_a_file_gets_it_again_when_it_has_changed(visit: Visit, folder: Path) -> None:
    first = visit.get("/app.js")
    tag = first.headers["etag"]
    assert visit.get("/app.js", If_None_Match=tag).status == 304
    (folder / "app.js").write_bytes(b"let a = 2;")
    again = visit.get("/app.js", If_None_Match=tag)
    assert (again.status, again.body) == (200, b"let a = 2;")


@pytest.mark.parametrize(
    "path",
    [
        "/missing.js",
        "/../outside.txt",
        "/..%2foutside.txt",
        "/%2e%2e/outside.txt",
        "/.hidden",
        "/licences/../../outside.txt",
        "/licences//../../outside.txt",
        "/app.js%00.txt",
        "//etc/passwd.txt",
        "/licences/.",
    ],
)
def test_nothing_outside_the_folder_is_shown(visit: Visit, path: str) -> None:
    answer = visit.get(path)
    assert b"secret" not in answer.body
    assert answer.status == 404 or answer.body == SHELL


def test_pages_that_are_not_built_are_explained(tmp_path: Path) -> None:
    with listening(serving(Pages(tmp_path))) as url:
        answer = Visit(url).get("/")
        assert answer.status == 503
        assert b"make web" in answer.body
        assert Visit(url).get("/app.js").status == 404


def test_one_file_is_in_memory_once_however_its_path_is_spelled(folder: Path) -> None:
    pages = Pages(folder)
    with listening(serving(pages)) as url:
        for path in ("/app.js", "/./app.js", "/././app.js", "/licences/x.txt", "/licences//x.txt"):
            assert Visit(url).get(path).status == 200
    assert len(pages._pages) == 2


def test_a_name_that_is_too_long_for_a_file_is_not_found(visit: Visit) -> None:
    assert visit.get(f"/{'a' * 1_000}.js").status == 404
    assert visit.get(f"/{'a' * 1_000}").body == SHELL
