"""What may happen when, and what is done about it, without a link or a disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from memory_link import MemoryStore
from spooling import TRIAL, MakeOutbox
from track.outbox import Outbox
from track.outbox import delivery as module
from track.outbox.backlog import Backlog
from track.outbox.delivery import Delivery
from track.outbox.drops import DropAccount
from track.outbox.futures import Call, FlushFuture
from track.outbox.queue import Limits
from track.outbox.records import Record, Shape, batch_of
from track.outbox.transitions import (
    TRANSITIONS,
    Attached,
    Awaited,
    BatchSent,
    CallSent,
    Closed,
    Disconnect,
    Event,
    Logged,
    Lost,
    SendBatch,
    SendCall,
    Started,
    State,
    Ticked,
    Written,
)
from track.spool.folder import spools_in
from track.spool.writer import Spool
from track_protocol.errors import ConnectionLost, InternalError, LocalProtocolError, SpoolFull
from track_protocol.wire.batch import METRIC, Batch
from track_protocol.wire.link import Acked, Opened, Replied
from waiting import wait_until

EVENTS = Event.__args__
SHAPE = Shape(TRIAL, METRIC, ["loss"], None)


def records(*values: float) -> list[Record]:
    return [(SHAPE, None, 0.0, {"loss": value}) for value in values]


def delivery(*, has_disk: bool = False) -> Delivery:
    made = Delivery(Backlog(), DropAccount(), Limits(), "the store", b"s" * 16, has_disk=has_disk)
    made.handle(Started(), 0.0)
    return made


def online(*, has_disk: bool = False) -> Delivery:
    made = delivery(has_disk=has_disk)
    made.handle(Attached(Opened(0, "one", "writer")), 0.0)
    return made


# -- the table -----------------------------------------------------------------------------------


def test_every_state_says_what_may_happen_in_it() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {event for following in TRANSITIONS.values() for event in following} == set(EVENTS)
    assert set(Delivery._HANDLERS) == set(EVENTS)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {State.CLOSED}
    for _ in State:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(State)
    assert all(State.CLOSED in following.values() for following in TRANSITIONS.values())


def test_what_cannot_happen_changes_nothing() -> None:
    # Fails when `Delivery.handle` does not look into the table.
    made = delivery()
    with pytest.raises(LocalProtocolError, match="BatchSent cannot happen while delivery is offline"):
        made.handle(BatchSent(), 0.0)
    assert made.state is State.OFFLINE


DESIGN = Path(module.__file__).with_name("DESIGN.md").read_text(encoding="utf-8")


def drawn() -> str:
    """The table as `DESIGN.md` shows it."""
    lines = ["| event | " + " | ".join(state.value for state in State) + " |"]
    lines.append("| --- |" + " --- |" * len(State))
    for event in EVENTS:
        cells = [TRANSITIONS[state].get(event) for state in State]
        shown = [
            "" if cell is None else "·" if cell is state else cell.value
            for state, cell in zip(State, cells, strict=True)
        ]
        lines.append(f"| {event.__name__} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def test_the_design_shows_the_table() -> None:
    shown = DESIGN.split("<!-- TRANSITIONS -->\n")[1].split("\n<!-- end of TRANSITIONS -->")[0]
    assert shown == drawn(), f"put this into DESIGN.md:\n{drawn()}"


# -- what is done --------------------------------------------------------------------------------


def test_a_batch_is_sent_as_soon_as_it_is_numbered() -> None:
    made = online()
    (action,) = made.handle(Logged(records(1.0, 2.0), 100), 0.0)
    assert isinstance(action, SendBatch)
    assert (action.batch.first, action.batch.last) == (1, 2)
    assert made.handle(BatchSent(), 0.0) == []


def test_a_batch_is_not_sent_before_the_disk_has_it() -> None:
    # Fails when `Delivery._offer` does not ask whether it was written.
    made = online(has_disk=True)
    assert made.handle(Logged(records(1.0), 100), 0.0) == []
    (action,) = made.handle(Written(1, 0), 0.0)
    assert isinstance(action, SendBatch)


def test_a_batch_is_sent_though_the_disk_cannot_be_written() -> None:
    made = online(has_disk=True)
    made.handle(Logged(records(1.0), 100), 0.0)
    (action,) = made.handle(Written(0, 0, SpoolFull("no room")), 0.0)
    assert isinstance(action, SendBatch)


def test_what_was_on_a_lost_link_is_sent_again() -> None:
    made = online()
    made.handle(Logged(records(1.0), 100), 0.0)
    made.handle(BatchSent(), 0.0)
    assert made.handle(Lost(error := ConnectionLost("it broke")), 0.0) == [Disconnect(error)]
    (action,) = made.handle(Attached(Opened(0, "one", "writer")), 0.0)
    assert isinstance(action, SendBatch)


def test_an_acknowledgement_of_what_was_never_sent_ends_the_link() -> None:
    made = online()
    actions = made.handle(Acked(7), 0.0)
    assert [type(action) for action in actions] == [Disconnect]
    assert made.state is State.OFFLINE


def test_what_is_logged_when_delivery_is_closed_still_gets_numbers() -> None:
    made = online()
    made.handle(Closed(), 0.0)
    made.handle(Logged(records(1.0), 100), 0.0)
    made.handle(Ticked(), 0.0)
    assert made.state is State.CLOSED
    assert made._backlog.next_seq == 2


def test_a_flush_behind_what_is_stored_is_resolved_at_once() -> None:
    made, flush = delivery(), FlushFuture()
    made.handle(Awaited(flush), 0.0)
    assert flush.is_done


def test_a_cancelled_call_is_not_executed() -> None:
    # Fails when `Delivery._offer_entry` does not look whether somebody still waits.
    made = online()
    calls = [Call("new_project", {"project": {}}, writes=True) for _ in range(2)]
    ((first,), nothing) = [made.handle(Awaited(call), 0.0) for call in calls]
    assert isinstance(first, SendCall)
    assert nothing == []
    made.handle(CallSent(), 0.0)
    calls[1].cancelled = True
    (action,) = made.handle(Replied(first.call_id, "done"), 0.0)
    assert isinstance(action, SendBatch)
    assert (action.batch.first, action.batch.ops) == (2, [])


# -- errors of this software ---------------------------------------------------------------------


def failing_batch_of(value: float) -> object:
    """Packs everything but records with that value."""

    def pack(first: int, of: list[Record]) -> Batch:
        if any(record[3].get("loss") == value for record in of if len(record) == 4):
            raise MemoryError("no memory")
        return batch_of(first, of)

    return pack


def test_what_cannot_be_packed_costs_only_itself_and_is_counted(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Delivery._number` lets go of anything that is no `BadValue`.
    monkeypatch.setattr(module, "batch_of", failing_batch_of(500.0))
    write = outbox.writer(TRIAL)
    for value in range(1_000):
        write(None, {"loss": float(value)})
    outbox.flush(20.0)
    assert store.values() == [float(value) for value in range(1_000) if value != 500]
    assert outbox.dropped == 1
    assert caplog.text.count("by an error of this software") == 1
    assert "connection" not in caplog.text
    losses = [arguments for _, _, method, arguments in store.calls if method == "log_trial_dropped_points"]
    assert [loss["points"] for loss in losses] == [1]


def test_a_bug_fails_the_futures_and_is_no_lost_connection(
    store: MemoryStore, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Fails when `Sender._faulted` does not fail futures: the flush then waits for an hour.
    write = outbox.writer(TRIAL)
    write(None, {"loss": 0.0})
    outbox.flush()
    handle, faults = Delivery.handle, iter([MemoryError("no memory")])

    def failing(self: Delivery, event: Event, now: float) -> object:
        if isinstance(event, Logged) and (error := next(faults, None)) is not None:
            raise error
        return handle(self, event, now)

    monkeypatch.setattr(Delivery, "handle", failing)
    write(None, {"loss": 1.0})
    with pytest.raises(InternalError, match="a bug in Track: MemoryError"):
        outbox.flush(3600.0)
    write(None, {"loss": 2.0})
    outbox.flush(20.0)
    assert store.values() == [0.0, 2.0]
    assert outbox.dropped == 1
    assert "connection" not in caplog.text


# -- a session that has to be left ---------------------------------------------------------------


def test_a_session_that_cannot_be_written_anew_stays_where_it_is(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Fails when `DiskQueue.renumber` removes the old spool before the new one is written.
    store.unreachable = True
    outbox = make_outbox()
    for value in range(5):
        outbox.writer(TRIAL)(None, {"loss": float(value)})
    outbox.persist(20.0)
    (old,) = spools_in(tmp_path / "spool")
    store.sessions[outbox.session] = 1_000
    append, refused = Spool.append, []

    def full(spool: Spool, first: int, last: int, payload: bytes) -> object:
        if spool.folder.path != old:
            refused.append(first)
            raise SpoolFull("no room is left")
        return append(spool, first, last, payload)

    with monkeypatch.context() as patched:
        patched.setattr(Spool, "append", full)
        store.unreachable = False
        wait_until(lambda: len(refused) > 1, "a new session was tried twice")
        assert old in spools_in(tmp_path / "spool")
        assert outbox.waiting == 5
    outbox.flush(20.0)
    assert store.values() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_session_that_is_written_anew_takes_no_more_memory_than_it_had(
    store: MemoryStore, make_outbox: MakeOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.renumber` loads all of the backlog into memory.
    monkeypatch.setattr("track.outbox.disk._MAX_MEMORY_BYTES", 10_000)
    monkeypatch.setattr("track.spool.writer.EXTENT_BYTES", 20_000)
    store.unreachable = True
    outbox = make_outbox()
    most = 0
    add = Backlog.add

    def watched(self: Backlog, *given: object) -> None:
        nonlocal most
        add(self, *given)  # type: ignore[arg-type] # passed through
        most = max(most, self.nbytes)

    for part in range(20):
        for value in range(500):
            outbox.writer(TRIAL)(None, {"loss": float(part * 500 + value)})
        outbox._sync()
        wait_until(lambda: outbox.fully_synced, "it is on disk, however slow that is")
    monkeypatch.setattr(Backlog, "add", watched)
    store.sessions[outbox.session] = 1_000_000
    store.unreachable = False
    outbox.flush(30.0)
    assert store.values() == [float(value) for value in range(10_000)]
    assert 0 < most < 60_000


def test_what_a_future_waits_for_is_sent_before_the_next_tick(store: MemoryStore) -> None:
    # Fails when a flush or a call is held back until a batch is due.
    outbox = Outbox(store.link, "the store", limits=Limits(linger=3600.0))
    outbox.writer(TRIAL)(None, {"loss": 0.0})
    outbox.flush(20.0)
    outbox.writer(TRIAL)(None, {"loss": 1.0})
    outbox.flush(20.0)
    outbox.writer(TRIAL)(None, {"loss": 2.0})
    outbox.call("get_project", {"project": {}}, 20.0)
    assert store.values() == [0.0, 1.0, 2.0]
    outbox.writer(TRIAL)(None, {"loss": 3.0})
    outbox.close(20.0)
    assert store.values() == [0.0, 1.0, 2.0, 3.0]
