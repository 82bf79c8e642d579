"""``track.board()``: the board of a store in a notebook."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import weakref
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from track.persistence.existing import existing_uri
from track_protocol.errors import TrackError
from track_protocol.uri import redact

__all__ = ["Board", "board"]

_JUPYTER: Final = "http://localhost:8888"
_ENDING_S: Final = 5.0


class Board:
    """A board that runs while this process does; a notebook shows it.

    Attributes:
        url: of its page in a frame.
        height: of the frame, in pixels.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, origin: str, height: int) -> None:
        self._process = process
        _boards.add(self)
        page, _, fragment = address.partition("#")
        # A browser sends a frame's cookies only if it is of the same site as the page around it.
        host = urlsplit(origin).hostname
        if host == "localhost":
            page = page.replace("//127.0.0.1:", "//localhost:")
        self.url = f"{page}embed"
        self.height = height
        self._fragment = fragment
        atexit.register(self.close)

    def _repr_html_(self) -> str:
        source = escape(f"{self.url}#{self._fragment}")
        return f'<iframe src="{source}" width="100%" height="{self.height}" style="border: 0"></iframe>'

    def __repr__(self) -> str:
        return f"<board at {self.url}>"

    def close(self) -> None:
        """End it; harmless when repeated."""
        atexit.unregister(self.close)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_ENDING_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def forget(self) -> None:
        """In a forked child: close its copy of the pipe, with whose last copy the board ends."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


_boards: Final[weakref.WeakSet[Board]] = weakref.WeakSet()


def _forget() -> None:
    for each in list(_boards):
        each.forget()


os.register_at_fork(after_in_child=_forget)


def board(uri: str | None = None, *, height: int = 720, origin: str | None = None) -> Board:
    """Show the board of a store in a notebook, for reading.

    It is a process of its own, which ends with this one, however that ends.  The browser has to be on this
    machine, or at the other end of ``ssh -L``.

    Args:
        uri: of the store; by default as for ``track.init``.
        height: of the frame, in pixels.
        origin: of the notebook's pages, the only ones that may show it; by default what
            ``JUPYTER_SERVER_URL`` says, or ``http://localhost:8888``.

    Raises:
        TrackError: the store cannot be opened, or the board cannot be started; the message says why.
    """
    found = existing_uri(uri)
    origin = origin or _origin(os.environ.get("JUPYTER_SERVER_URL", _JUPYTER))
    command = [sys.executable, "-m", "track.cli", "board", "--no-browser", "--port", "0", "--embed", origin]
    command += ["--end-with-stdin"]  # the kernel closes the pipe when it ends this process, however that ends
    # The URI may have a token, which other users would see on a command line.
    process = subprocess.Popen(  # noqa: S603 - of this program
        command,
        env={**os.environ, "TRACK_URI": found},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    address = process.stdout.readline().strip()
    if not address:
        _, said = process.communicate()
        reason = (said.strip().splitlines() or ["it has said nothing"])[-1]
        raise TrackError(f"the board of {redact(found)} did not start: {reason}")
    process.stderr.close()
    return Board(process, address, origin, height)


def _origin(url: str) -> str:
    parts: Any = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
