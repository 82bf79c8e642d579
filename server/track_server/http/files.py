"""The board's pages, as the build has left them: read once, compressed once, looked at again when they
change."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

__all__ = ["BUILT", "Pages"]

BUILT: Final = Path(__file__).parents[1] / "web"
"""Where the build leaves the pages."""

_SHELL: Final = "index.html"
_NOT_BUILT: Final = (
    "The pages of the board are not built, so there is nothing to show: run 'make web' in the source tree, "
    "or install a wheel, which has them. The interface under /api/v1 works without them.\n"
)
_NOTHING: Final = "There is no such page and no such file: the board begins at the address of this server.\n"
_COMPRESSED: Final = ("text/", "application/json", "image/svg")
_TYPES: Final = {".js": "text/javascript", ".mjs": "text/javascript", ".map": "application/json"}


@dataclass(frozen=True, slots=True)
class _Page:
    stamp: tuple[int, int]
    media_type: str
    data: bytes
    compressed: bytes | None
    etag: str


class Pages:
    """Answers with files of a folder; any other name without a dot is for the page itself to understand.

    Args:
        folder: what the build has left.
    """

    def __init__(self, folder: Path = BUILT) -> None:
        self._folder = folder
        self._pages: dict[tuple[str, ...], _Page] = {}

    async def answer(self, request: Request) -> Response:
        """The file that a request names."""
        name = request.url.path.strip("/") or _SHELL
        # The files of the page are named beside it, so in a folder it would not find them.
        is_view = "/" not in name and ("." not in name or name == _SHELL)
        page = self._page(name)
        if page is None:
            return self.shell(request) if is_view else PlainTextResponse(_NOTHING, 404)
        return _answer(page, request)

    def shell(self, request: Request) -> Response:
        """The page itself, whatever the path is."""
        page = self._page(_SHELL)
        return _not_built() if page is None else _answer(page, request)

    def _page(self, name: str) -> _Page | None:
        parts = PurePosixPath(name).parts
        if any(part.startswith(".") or "\0" in part for part in parts):
            return None
        path = self._folder.joinpath(*parts)
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            # By its parts: one file has endlessly many spellings, such as ././app.js.
            known = self._pages.get(parts)
            if known is None or known.stamp != stamp:
                known = self._pages[parts] = _read(path, stamp)
        except OSError:  # also of a name that is too long for a file
            return None
        return known


def _answer(page: _Page, request: Request) -> Response:
    headers = {"etag": page.etag, "cache-control": "no-cache", "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == page.etag:
        return Response(status_code=304, headers=headers)
    if page.compressed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(page.compressed, media_type=page.media_type, headers=headers)
    return Response(page.data, media_type=page.media_type, headers=headers)


def _not_built() -> Response:
    return PlainTextResponse(_NOT_BUILT, 503)


def _read(path: Path, stamp: tuple[int, int]) -> _Page:
    data = path.read_bytes()
    guessed = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    compressed = gzip.compress(data, 6, mtime=0) if guessed.startswith(_COMPRESSED) else None
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    return _Page(stamp, guessed, data, compressed, etag)
