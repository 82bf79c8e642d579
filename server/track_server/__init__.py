"""The tracking server."""

import sys

from track_protocol.errors import UsageError

__all__: list[str] = []

if sys.platform == "win32":
    raise UsageError(
        "the server and stores in files need Linux or macOS: on Windows, use WSL, or a server on another "
        "machine by socket://HOST:PORT"
    )
