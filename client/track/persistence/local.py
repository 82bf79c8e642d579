"""The store in a JSON file, and what scripts written against it use beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from track.outbox.queue import Limits
from track.persistence.embedded import outbox_of
from track.persistence.locks import (
    ConcurrentWrite,
    LockFileRemover,
    MultiLock,
    lock_atomic_write,
    lock_guard,
    lock_read,
    lock_write,
    make_lock,
)
from track.persistence.matching import (
    execute_query,
    query_eq,
    query_exists,
    query_gt,
    query_gte,
    query_in,
    query_lt,
    query_lte,
    query_ne,
    query_nin,
    query_not,
)
from track.persistence.remote import OutboxProtocol
from track.persistence.storage import LocalStorage, load_database
from track_protocol.errors import UriError
from track_protocol.uri import Uri, boolean, check_options

__all__ = [
    "ConcurrentWrite",
    "FileProtocol",
    "LockFileRemover",
    "MultiLock",
    "execute_query",
    "lock_atomic_write",
    "lock_guard",
    "lock_read",
    "lock_write",
    "make_lock",
    "query_eq",
    "query_exists",
    "query_gt",
    "query_gte",
    "query_in",
    "query_lt",
    "query_lte",
    "query_ne",
    "query_nin",
    "query_not",
]

_SCHEMES: Final = ("file", "pickle", "pickled")

_MAX_LINGER_S: Final = 3600.0
"""Maximum seconds that a record waits in memory."""


class FileProtocol(OutboxProtocol):
    """A store in one readable JSON file, which any number of processes may have open at once.

    Each call is atomic, whatever others write: what they have committed is there before it begins.  A process
    that is killed blocks no other.  A server locks the file; use its address then.

    Args:
        uri: ``file:NAME.json`` or ``file://NAME.json``, also with the arguments below as options:
            ``file:NAME.json?eager=false``.
        strict: accepted for scripts that pass it.  The store is consistent whatever it says.
        eager: store what is logged at once, in the background.  Otherwise it waits in this process's memory
            until a call with an answer, `commit` or `close` requires it, or until there is a full batch of
            it (8,192 calls) or an hour has passed; a process that is killed loses it.

    Raises:
        UriError: the URI names no file, or holds an unknown option.
        MissingExtra: the server's packages, which stores in this process need, are not installed.
    """

    def __init__(self, uri: str, strict: bool = True, eager: bool = True) -> None:
        parsed = Uri.parse(uri)
        if parsed.scheme not in _SCHEMES:
            raise UriError(f"{parsed.scheme}: a store in a file is file:NAME.json")
        options = check_options(parsed, {"strict": boolean, "eager": boolean})
        self.strict: bool = options.get("strict", strict)
        self.eager: bool = options.get("eager", eager)
        store = replace(parsed, scheme="file", query={}).to_text()
        own = {} if self.eager else {"eager": "false"}  # for a copy of this object in another process
        limits = Limits() if self.eager else Limits(linger=_MAX_LINGER_S)
        super().__init__(replace(parsed, query=own).to_text(), outbox_of(store, limits))

    @property
    def path(self) -> str:
        """The file."""
        return Uri.parse(self.uri).path

    @property
    def lock(self) -> MultiLock:
        """A lock for files of your own beside the store, which needs none itself."""
        return make_lock(self.path, self.eager)

    @property
    def storage(self) -> LocalStorage:
        """A copy of everything that is stored now."""
        self.flush()
        return load_database(self.path)

    def commit(self, file_name_override: str | None = None, **kwargs: Any) -> None:
        """Store everything logged before, and write the document that people read.

        Args:
            file_name_override: also write everything in the store to this JSON file.
            kwargs: none so far.

        Raises:
            BadArguments: there are some.
            TrackError: the file cannot be written.
        """
        if file_name_override is not None:
            kwargs["file_name_override"] = file_name_override
        super().commit(**kwargs)
