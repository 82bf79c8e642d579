"""The events and actions of delivery, and what may happen in which state.

`Delivery` (`delivery.py`) takes one of these events and returns some of these actions.  `TRANSITIONS` is its
table; `DESIGN.md` shows it and explains it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from track.outbox.backlog import Entry, NumberedCall
from track.outbox.futures import Call, FlushFuture, Future, SyncFuture
from track.outbox.records import Record
from track_protocol.errors import SpoolError, TrackError
from track_protocol.wire.batch import Batch
from track_protocol.wire.link import Acked, Failed, Opened, Refused, Replied

if TYPE_CHECKING:
    # A process without a spool does not import what one needs.
    from track.spool.reader import Extent

__all__ = [
    "TRANSITIONS",
    "Acknowledge",
    "Action",
    "Attached",
    "Awaited",
    "BatchSent",
    "Blocked",
    "CallFinished",
    "CallSent",
    "Closed",
    "Disconnect",
    "Event",
    "Fail",
    "Faulted",
    "ForgetSession",
    "Load",
    "Loaded",
    "Logged",
    "Lost",
    "Renumber",
    "Renumbered",
    "Resolve",
    "SendBatch",
    "SendCall",
    "SendRead",
    "Started",
    "State",
    "Ticked",
    "Unsendable",
    "Write",
    "Written",
]


class State(Enum):
    """The state of delivery."""

    OFFLINE = "offline"
    """No link is open; attempts are made."""
    BLOCKED = "blocked"
    """A person has to fix the problem: attempts are rare, and futures fail at once."""
    ONLINE = "online"
    """A link is open, and batches are sent."""
    CALLING = "calling"
    """A call that changes something waits for its answer, and nothing numbered is sent behind it."""
    CLOSED = "closed"
    """Nothing is sent; what is logged still gets numbers, and goes to disk."""


# -- events: what happened -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The sender runs."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The sender ends."""


@dataclass(frozen=True, slots=True)
class Logged:
    """Records of about `nbytes` bytes were logged."""

    records: Sequence[Record]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Awaited:
    """A future waits for everything that was logged before it."""

    future: Call | FlushFuture | SyncFuture


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed; `at_once` if what is due later is wanted now."""

    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Attached:
    """A link is open; `stored` is on disk, and the store confirmed it once but no longer has it."""

    opened: Opened
    stored: Sequence[Extent] = ()


@dataclass(frozen=True, slots=True)
class Lost:
    """The link, or an attempt to open one, has failed; without an error, another attempt is due at once."""

    error: TrackError | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The same, for a reason that a person has to fix."""

    error: TrackError


@dataclass(frozen=True, slots=True)
class Faulted:
    """A bug in Track: the futures that wait must fail."""

    error: TrackError


@dataclass(frozen=True, slots=True)
class BatchSent:
    """The batch was sent."""


@dataclass(frozen=True, slots=True)
class CallSent:
    """The numbered call was sent."""


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The numbered call that was under way is answered."""


@dataclass(frozen=True, slots=True)
class Unsendable:
    """The record or extent can never be sent or loaded."""

    error: TrackError


@dataclass(frozen=True, slots=True)
class Loaded:
    """The records of the extent."""

    extent: Extent
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Written:
    """The disk has every record up to `written`, durably up to `synced`; or it has a problem."""

    written: int
    synced: int
    problem: SpoolError | None = None


@dataclass(frozen=True, slots=True)
class Renumbered:
    """Everything unconfirmed has new numbers, in this session."""

    session: bytes


Event = (
    Started
    | Closed
    | Logged
    | Awaited
    | Ticked
    | Attached
    | Lost
    | Blocked
    | Faulted
    | BatchSent
    | CallSent
    | CallFinished
    | Unsendable
    | Loaded
    | Written
    | Renumbered
    | Acked
    | Refused
    | Replied
    | Failed
)


# -- actions: what to do -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendBatch:
    """Send it, and answer with `BatchSent` or `Unsendable`."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class SendCall:
    """Send it, and answer with `CallSent` or `Unsendable`."""

    call_id: int
    item: NumberedCall


@dataclass(frozen=True, slots=True)
class SendRead:
    """Send it, and answer with `Failed` if that is impossible."""

    call_id: int
    call: Call


@dataclass(frozen=True, slots=True)
class Load:
    """Read an extent from the disk, and answer with `Loaded` or `Unsendable`."""

    extent: Extent


@dataclass(frozen=True, slots=True)
class Write:
    """Write the records that are only in memory, and answer with `Written`."""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The store has confirmed more: confirmed records may be removed from the disk."""


@dataclass(frozen=True, slots=True)
class Renumber:
    """Move everything unconfirmed to a new session, and answer with `Renumbered`, or with `Lost`."""


@dataclass(frozen=True, slots=True)
class ForgetSession:
    """The session has no more records: remove it from the disk."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Fail a future, after all actions before this one."""

    future: Future
    error: TrackError


@dataclass(frozen=True, slots=True)
class Resolve:
    """Resolve the futures whose records are durable, after all actions before this one."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the link, if there is one; `lasting` if a person has to fix the problem."""

    error: TrackError | None
    lasting: bool = False


Action = (
    SendBatch
    | SendCall
    | SendRead
    | Load
    | Write
    | Acknowledge
    | Renumber
    | ForgetSession
    | Fail
    | Resolve
    | Disconnect
)


# -- what may happen when ------------------------------------------------------------------------

_Following = Mapping[type[Event], State]


def _in(state: State, *same: type[Event]) -> _Following:
    """The events that do not change a state, and those that every state takes."""
    always = (Logged, Awaited, Ticked, Written, Faulted)
    return dict.fromkeys((*always, *same), state) | {Closed: State.CLOSED}


_ANSWERS: Final = (Acked, Refused, Replied, Failed)

TRANSITIONS: Final[Mapping[State, _Following]] = {
    State.OFFLINE: {
        **_in(State.OFFLINE, Lost, Renumbered),
        Attached: State.ONLINE,
        Blocked: State.BLOCKED,
    },
    State.BLOCKED: {
        **_in(State.BLOCKED, Lost, Blocked),
        Attached: State.ONLINE,
    },
    State.ONLINE: {
        **_in(State.ONLINE, BatchSent, Loaded, Unsendable, *_ANSWERS),
        CallSent: State.CALLING,
        Lost: State.OFFLINE,
        Blocked: State.BLOCKED,
    },
    State.CALLING: {
        **_in(State.CALLING, *_ANSWERS),
        CallFinished: State.ONLINE,
        Lost: State.OFFLINE,
        Blocked: State.BLOCKED,
    },
    State.CLOSED: {
        **_in(State.CLOSED),
        Started: State.OFFLINE,
    },
}
"""What may happen in each state, and the state that follows: ``{state: {event: next}}``."""
