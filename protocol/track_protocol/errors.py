"""The one tree of errors.

Every class carries a wire ``code`` and a process ``exit_code``: an error of a server travels as
its code, and the client raises the same class, so callers catch what happened and not where
it happened.  A message names the thing, the reason and the remedy, in that order.
"""

from __future__ import annotations

from typing import ClassVar, Final

from track_protocol.security.tokens import redact_tokens
from track_protocol.terminal import clean

__all__ = [
    "AuthenticationError",
    "BadArguments",
    "BadQuery",
    "BadValue",
    "CallTimeout",
    "ConnectionLost",
    "EncryptionMismatch",
    "FrameTooLarge",
    "InternalError",
    "ItemNotFound",
    "LocalProtocolError",
    "MissingExtra",
    "PermissionDenied",
    "PinMismatch",
    "ProtocolError",
    "RPCCallFailure",
    "RemoteProtocolError",
    "SequenceGap",
    "SeriesDamaged",
    "ServerUnreachable",
    "SessionFenced",
    "SpoolCorrupt",
    "SpoolError",
    "SpoolForeign",
    "SpoolFull",
    "SpoolInUse",
    "StoreConflict",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreInUse",
    "StoreReadOnly",
    "StoreTooNew",
    "StoreUnavailable",
    "TooBusy",
    "TrackError",
    "TrialInUse",
    "UnknownMethod",
    "UnknownScheme",
    "UriError",
    "UsageError",
    "error_from_wire",
]


class TrackError(Exception):
    """Base of every error this project raises on purpose.

    Attributes:
        code: the name under which the class travels over a socket.
        exit_code: the exit code of a command: 1 failed, 2 usage, 3 not found, 4 authentication,
            5 unreachable.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, *args: object) -> None:
        # A message goes to logs, terminals and stores, and may quote what a user gave.
        super().__init__(*(redact_tokens(each) if isinstance(each, str) else each for each in args))


class UsageError(TrackError):
    """The caller asked for something that cannot be: a wrong option, argument or order of calls."""

    code = "usage"
    exit_code = 2


class UriError(UsageError, ValueError):
    """A URI that cannot be parsed, or that has an unknown option."""

    code = "uri"


class UnknownScheme(UriError):
    """A URI whose scheme names no backend."""

    code = "scheme"


class MissingExtra(TrackError, ImportError):
    """A feature whose optional packages are not installed; the message names the extra."""

    code = "missing-extra"
    exit_code = 2


class ServerUnreachable(TrackError, ConnectionError):
    """No server can be reached at that address."""

    code = "unreachable"
    exit_code = 5


class ConnectionLost(ServerUnreachable):
    """The connection ended while something was still expected from it."""

    code = "connection-lost"


class CallTimeout(ServerUnreachable, TimeoutError):
    """The server accepted the connection, and did not answer in time."""

    code = "timeout"


class EncryptionMismatch(TrackError):
    """One side uses TLS and the other plain text, or the cipher is not the required one."""

    code = "encryption"
    exit_code = 4


class AuthenticationError(TrackError):
    """The user and the server could not prove themselves to each other."""

    code = "authentication"
    exit_code = 4


class PinMismatch(AuthenticationError):
    """The server's public key is not the pinned one: a new identity, or a relay in between."""

    code = "pin"


class ProtocolError(TrackError):
    """The wire protocol was broken."""

    code = "protocol"


class LocalProtocolError(ProtocolError):
    """This side tried to send a frame that the protocol does not allow now: a bug of this program."""

    code = "local-protocol"


class RemoteProtocolError(ProtocolError):
    """The peer sent a frame that the protocol does not allow: a bug of the peer."""

    code = "remote-protocol"


class FrameTooLarge(RemoteProtocolError):
    """A frame longer than the limit of this state."""

    code = "frame-too-large"


class RPCCallFailure(TrackError):
    """Base of the errors that a call can raise on the other side of a socket (or inside an engine).

    Args:
        message: what failed, why, and what to do.
        trace: the remote traceback, when the failure is a fault of the server.
    """

    code = "call-failed"

    def __init__(self, message: str = "", trace: str | None = None) -> None:
        super().__init__(message)
        self.message = redact_tokens(message)
        self.trace = None if trace is None else redact_tokens(trace)


class UnknownMethod(RPCCallFailure):
    """A call by a name that is not in the method table."""

    code = "unknown-method"


class BadArguments(RPCCallFailure, ValueError):
    """A call whose arguments do not fit the method's schema."""

    code = "bad-arguments"
    exit_code = 2


class BadValue(BadArguments):
    """A value that cannot be stored: an integer over 64 bits, a lone surrogate, too deep, too long."""

    code = "bad-value"


class BadQuery(BadArguments):
    """A query that names an unknown attribute or operator, or gives an operand it cannot take."""

    code = "bad-query"


class PermissionDenied(RPCCallFailure):
    """The user's role does not allow this call."""

    code = "permission"
    exit_code = 4


class ItemNotFound(RPCCallFailure, LookupError):
    """No such project, group, trial or series."""

    code = "not-found"
    exit_code = 3


class SeriesDamaged(RPCCallFailure):
    """A call that changes points needs some that cannot be read; it was not done at all."""

    code = "series-damaged"


class TrialInUse(RPCCallFailure):
    """A trial that another process still writes; the message names who, and since when."""

    code = "trial-in-use"


class SequenceGap(RPCCallFailure):
    """A batch that does not continue where its session ended; ``expected`` is the next sequence number.

    Args:
        message: the received and the expected sequence number.
        trace: unused; part of the common signature.
    """

    code = "sequence-gap"


class SessionFenced(RPCCallFailure):
    """Another client has taken the session over; records from this one are not stored any more."""

    code = "session-fenced"


class TooBusy(RPCCallFailure):
    """A limit of the server is reached; the same call may succeed later."""

    code = "busy"


class InternalError(RPCCallFailure):
    """A bug of the server; ``trace`` shows where."""

    code = "internal"


class StoreError(RPCCallFailure):
    """The store could not be opened, read or written."""

    code = "store"


class StoreInUse(StoreError):
    """Another process holds the store; the message names its pid."""

    code = "store-in-use"


class StoreFull(StoreError):
    """No space is left for the store; the same write succeeds once there is some again."""

    code = "store-full"


class StoreFailed(StoreError):
    """The disk failed; the same write succeeds once the store was opened again, by itself."""

    code = "store-failed"


class StoreUnavailable(StoreFailed):
    """The database of the store cannot be reached; its server opens it again by itself."""

    code = "store-unavailable"


class StoreConflict(StoreError):
    """Another writer was at the same rows of the store; the server tries again."""

    code = "store-conflict"


class StoreReadOnly(StoreError):
    """The store, its folder or its disk does not take writes."""

    code = "store-read-only"


class StoreCorrupt(StoreError):
    """The store's bytes differ from the written ones."""

    code = "store-corrupt"


class StoreTooNew(StoreError):
    """The store was written by a newer version of this software."""

    code = "store-too-new"


class SpoolError(TrackError):
    """The folder in which a client queues records for the server cannot be used."""

    code = "spool"


class SpoolInUse(SpoolError):
    """Another process writes or sends this spool."""

    code = "spool-in-use"


class SpoolFull(SpoolError):
    """The spool has reached its limit, or its disk is full."""

    code = "spool-full"


class SpoolCorrupt(SpoolError):
    """Bytes of a spool differ from the written ones."""

    code = "spool-corrupt"


class SpoolForeign(SpoolError):
    """A spool that continues what another server, or a later state of this one, has confirmed."""

    code = "spool-foreign"


def _by_code(root: type[TrackError]) -> dict[str, type[TrackError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_by_code(child))
    return found


_CLASSES: Final = _by_code(TrackError)


def error_from_wire(code: str, message: str, trace: str | None = None) -> TrackError:
    """The error that a peer reported, as the class it raised.

    Args:
        code: the class's wire code; an unknown one gives a plain `RPCCallFailure`.
        message: the peer's message, which may be that of a hostile peer, see `clean`.
        trace: the peer's traceback, if it sent one.
    """
    message, trace = clean(message), None if trace is None else clean(trace)
    cls = _CLASSES.get(code, RPCCallFailure)
    return cls(message, trace) if issubclass(cls, RPCCallFailure) else cls(message)
