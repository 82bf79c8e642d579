"""Whatever happens to a link and a disk: nothing is lost or doubled, and no future waits forever."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from memory_link import MemoryStore
from track.outbox import disk as disk_module
from track.outbox.backlog import Backlog
from track.outbox.delivery import Delivery
from track.outbox.disk import DiskQueue
from track.outbox.drops import DropAccount
from track.outbox.futures import Call, FlushFuture
from track.outbox.queue import Limits
from track.outbox.records import Shape
from track.outbox.transitions import (
    TRANSITIONS,
    Acknowledge,
    Action,
    Attached,
    Awaited,
    BatchSent,
    Blocked,
    CallSent,
    Closed,
    Disconnect,
    Event,
    Fail,
    ForgetSession,
    Load,
    Loaded,
    Logged,
    Lost,
    Renumber,
    Renumbered,
    Resolve,
    SendBatch,
    SendCall,
    SendRead,
    Started,
    State,
    Ticked,
    Unsendable,
    Write,
    Written,
)
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import Extent
from track.spool.writer import Location, Spool
from track_protocol.errors import (
    AuthenticationError,
    ConnectionLost,
    LocalProtocolError,
    SpoolError,
    SpoolFull,
    StoreFull,
    TrackError,
)
from track_protocol.model.entities import new_id
from track_protocol.wire.batch import METRIC
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import LinkEvent, Opened

TRIAL = b"t" * 16
SHAPE = Shape(TRIAL, METRIC, ["loss"], None)
NOWHERE = Extent(1, 1, Counts(), Location(1, 0, 0))
NONSENSE = [Started(), BatchSent(), CallSent(), Loaded(NOWHERE, []), Attached(Opened(0, "", ""))]


class Deliveries(RuleBasedStateMachine):
    """A delivery, a store in memory, a real spool, and a wire between them that breaks."""

    @initialize(has_disk=st.booleans(), sync=st.sampled_from(SpoolSync))
    def begin(self, has_disk: bool, sync: SpoolSync) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="delivery"))
        self.store = MemoryStore(answer=lambda method, arguments: arguments["project"]["uid"])
        self.backlog, self.drops, self.now = Backlog(), DropAccount(), 0.0
        self.delivery = Delivery(
            self.backlog,
            self.drops,
            Limits(batches_in_flight=3),
            "the store",
            new_id(),
            has_disk=has_disk,
        )
        options = SpoolOptions(self.folder, sync, segment_bytes=200)
        self.disk = DiskQueue(self.backlog, options, "memory:", self.drops) if has_disk else None
        self.logged: list[float] = []
        self.calls: list[Call] = []
        self.given_up: set[str] = set()
        self.flushes: list[tuple[FlushFuture, int]] = []
        self.linked, self.carries = False, True
        self.disk_is_full = self.disk_was_full = False
        self.session = b""
        self.events: deque[LinkEvent] = deque()
        self._append, self._in_memory = Spool.append, disk_module._MAX_MEMORY_BYTES
        self._fsync, os.fsync = os.fsync, lambda fd: None  # no power cut comes here
        Spool.append = self._failing_append()  # type: ignore[method-assign]  # a disk that is full at times
        disk_module._MAX_MEMORY_BYTES = 0  # type: ignore[misc]  # so that all that is flushed leaves memory
        self.do(Started())

    def _failing_append(self) -> Any:
        really_append = self._append

        def append(spool: Spool, first: int, last: int, payload: bytes) -> Any:
            if self.disk_is_full:
                raise SpoolFull("no room is left")
            return really_append(spool, first, last, payload)

        return append

    # -- the sender's part -----------------------------------------------------------------------

    def do(self, event: Event) -> None:
        actions = deque(self.delivery.handle(event, self.now))
        while actions:
            following = self.perform(actions.popleft())
            if following is not None:
                actions += self.delivery.handle(following, self.now)

    def perform(self, action: Action) -> Event | None:  # noqa: C901  # one case for each action
        match action:
            case SendBatch(batch):
                assert self.linked
                if self.carries:
                    self.events.append(self.store.apply(self.session, batch))
                return BatchSent()
            case SendCall(call_id, item):
                assert self.linked
                self.carry_call(call_id, item.first, item.call)
                return CallSent()
            case SendRead(call_id, call):
                self.carry_call(call_id, None, call)
            case Load(extent):
                try:
                    return Loaded(extent, self.the_disk.read(extent))
                except SpoolError as error:
                    return Unsendable(error)
            case Write():
                return self.written()
            case Acknowledge():
                if self.disk is not None:
                    self.disk.acknowledge("one")
            case Renumber():
                return self.renumbered()
            case ForgetSession():
                self.the_disk.start_over()
            case Fail(future, error):
                future.fail(error)
            case Resolve():
                self.delivery.waiters.resolve_flushes()
            case Disconnect():
                self.linked, self.carries = False, True
                self.events.clear()
        return None

    @property
    def the_disk(self) -> DiskQueue:
        assert self.disk is not None
        return self.disk

    def carry_call(self, call_id: int, seq: int | None, call: Call) -> None:
        if self.carries:
            self.events.append(self.store.execute(self.session, call_id, seq, call.method, call.arguments))

    def written(self) -> Event | None:
        if self.disk is None:
            return None
        self.disk.write(self.delivery.session)
        return Written(self.disk.written, self.disk.synced, self.disk.problem)

    def renumbered(self) -> Event:
        session = new_id()
        try:
            if self.disk is None:
                self.backlog.renumber()
            else:
                self.disk.renumber(session)
        except SpoolError as error:
            return Lost(error)
        return Renumbered(session)

    def write(self) -> None:
        following = self.written()
        if following is not None:
            self.do(following)

    # -- what happens ----------------------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def log(self, count: int) -> None:
        values = [float(len(self.logged) + each) for each in range(count)]
        self.logged += values
        self.do(Logged([(SHAPE, None, 0.0, {"loss": value}) for value in values], 100 * count))
        self.write()

    @rule()
    def log_quickly(self) -> None:
        """Without a look at the disk in between."""
        self.logged.append(float(len(self.logged)))
        self.do(Logged([(SHAPE, None, 0.0, {"loss": self.logged[-1]})], 100))

    @rule()
    def flush(self) -> None:
        future = FlushFuture()
        self.flushes.append((future, len(self.logged)))
        self.do(Awaited(future))
        self.write()

    @rule(writes=st.booleans())
    def call(self, writes: bool) -> None:
        uid = f"{len(self.calls)}"
        method = "new_project" if writes else "get_project"
        future = Call(method, {"project": {"uid": uid}}, writes=writes)
        self.calls.append(future)
        self.do(Awaited(future))
        self.write()

    @rule()
    def give_up_a_call(self) -> None:
        executed = {arguments["project"]["uid"] for _, _, _, arguments in self.store.calls}
        for call in self.calls:
            call.cancelled = True
        self.given_up |= {call.arguments["project"]["uid"] for call in self.calls} - executed

    @precondition(lambda self: self.delivery.state in (State.OFFLINE, State.BLOCKED))
    @rule()
    def attach(self) -> None:
        self.session, self.linked = self.delivery.session, True
        last_seq = self.store.sessions.get(self.session, 0)
        stored = []
        if self.disk is not None and last_seq < self.backlog.acked:
            stored = self.disk.stored_after(last_seq)
        self.do(Attached(Opened(last_seq, "one", "writer"), stored))

    @precondition(lambda self: self.events)
    @rule()
    def receive(self) -> None:
        self.do(self.events.popleft())

    @precondition(lambda self: self.linked)
    @rule(error=st.none() | st.just(ConnectionLost("it broke")))
    def break_link(self, error: TrackError | None) -> None:
        self.do(Lost(error))

    @precondition(lambda self: self.linked)
    @rule()
    def swallow(self) -> None:
        """What is sent from now on does not arrive."""
        self.carries = False

    @precondition(lambda self: self.disk is not None and self.delivery.state is not State.CLOSED)
    @rule()
    def block(self) -> None:
        self.do(Blocked(AuthenticationError("the token was revoked")))

    @rule()
    def refuse(self) -> None:
        """The store is full, or has room again."""
        self.store.refuse = None if self.store.refuse else StoreFull("no space is left")

    @rule()
    def fill_the_disk(self) -> None:
        self.disk_is_full = not self.disk_is_full
        self.disk_was_full = True

    @rule(seconds=st.floats(0.0, 1e6))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.disk is not None:
            self.disk._again_at = self.disk._sync_at = self.disk._note_at = 0.0
        self.do(Ticked())

    @precondition(lambda self: self.store.sessions.get(self.delivery.session, 0) == self.backlog.acked)
    @precondition(lambda self: not self.linked and not any(call.writes for call in self.calls))
    @rule()
    def take_the_session(self) -> None:
        """Somebody else writes in the session, where nothing is stored without being acknowledged."""
        self.store.sessions[self.delivery.session] = self.backlog.next_seq + 10_000

    @precondition(lambda self: not self.linked and not any(call.writes for call in self.calls))
    @precondition(lambda self: self.disk is not None and not self.disk_was_full)
    @rule(share=st.floats(0.0, 1.0))
    def set_back(self, share: float) -> None:
        """The store is an older one, and all that it no longer has is on this machine's disk."""
        session = self.delivery.session
        had = self.store.sessions.get(session, 0)
        if had >= self.backlog.next_seq:
            return  # somebody has taken the session
        has = self.store.sessions[session] = int(share * had)
        self.store.points = [
            point for point in self.store.points if point.session != session or point.seq <= has
        ]
        self.flushes.clear()

    @rule()
    def stop(self) -> None:
        if self.delivery.state is not State.CLOSED:
            self.do(Closed())
            self.linked = False
            self.events.clear()
            self.write()

    @precondition(lambda self: self.delivery.state is State.CLOSED)
    @rule()
    def start(self) -> None:
        self.do(Started())

    @rule(event=st.sampled_from(NONSENSE))
    def tell_nonsense(self, event: Event) -> None:
        if type(event) not in TRANSITIONS[self.delivery.state]:
            before = self.delivery.state
            with pytest.raises(LocalProtocolError):
                self.delivery.handle(event, self.now)
            assert self.delivery.state is before

    # -- what must be so -------------------------------------------------------------------------

    @invariant()
    def nothing_is_doubled_or_out_of_order(self) -> None:
        assert self.store.values() == self.logged[: len(self.store.points)]

    @invariant()
    def numbers_have_no_gaps(self) -> None:
        first = self.backlog.begin
        for each in self.backlog:
            assert each.first <= first <= each.last
            first = each.last + 1
        assert first == self.backlog.next_seq

    @invariant()
    def what_was_flushed_is_stored(self) -> None:
        for future, count in self.flushes:
            if future.is_done and future._error is None:
                assert len(self.store.points) >= count

    def teardown(self) -> None:
        try:
            self.recover()
            assert self.store.values() == self.logged
            assert self.drops.dropped == 0
            assert all(future.is_done for future, _ in self.flushes)
            assert all(call.is_done or call.cancelled for call in self.calls)
            executed = [arguments["project"]["uid"] for _, _, _, arguments in self.store.calls]
            assert len(executed) == len(set(executed))
            assert self.given_up.isdisjoint(executed)
            assert self.delivery.is_idle
        finally:
            os.fsync = self._fsync
            Spool.append = self._append  # type: ignore[method-assign]  # as it was
            disk_module._MAX_MEMORY_BYTES = self._in_memory  # type: ignore[misc]  # the same
            if self.disk is not None:
                self.disk.start_over()
            shutil.rmtree(self.folder, ignore_errors=True)

    def recover(self) -> None:
        """Store, disk and wire are good again: all that waits must arrive."""
        self.store.refuse, self.disk_is_full = None, False
        for _ in range(200):
            self.wait(10.0)
            self.write()
            if self.delivery.state is State.CLOSED:
                self.start()
            if self.delivery.state in (State.OFFLINE, State.BLOCKED):
                self.attach()
            elif not self.carries:
                self.break_link(None)
            elif self.events:
                self.receive()
            elif self.delivery.is_idle:
                return
        raise AssertionError("it never became idle")


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
