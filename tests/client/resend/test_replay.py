"""Replay of one spool against a store in memory."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memory_link import MemoryLink, MemoryStore
from orphaned_spools import SESSION, TRIAL, left_spool, records_in
from track.outbox.backlog import Backlog
from track.outbox.disk import DiskQueue
from track.outbox.records import CALL, Shape, batch_of
from track.resend.replay import Destination, Outcome, Replay, ReplayPolicy, ReplayRules
from track.spool.folder import Checkpoint, SpoolFolder, is_held, read_checkpoint
from track.spool.reader import Extent
from track.spool.writer import Location
from track_protocol.errors import (
    AuthenticationError,
    PermissionDenied,
    PinMismatch,
    RemoteProtocolError,
    ServerUnreachable,
    SessionFenced,
    SpoolForeign,
    SpoolInUse,
    StoreFull,
    TooBusy,
    TrackError,
)
from track_protocol.wire.batch import METRIC, Batch, CallOp
from track_protocol.wire.counts import Counts
from track_protocol.wire.link import Acked, LinkEvent, Opened, Refused, Rejection
from track_protocol.wire.roles import Role


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def destination(store: MemoryStore, link: Callable[[], Any] | None = None) -> Destination:
    return Destination(link or store.link, "the store", "socket://ann@localhost:8123", 0.3)


def replay(path: Path, store: MemoryStore, **rules: bool) -> Outcome:
    return Replay(path, destination(store), ReplayRules(**rules)).run()


def is_good(outcome: Outcome) -> bool:
    """Whether all that was logged is at the server."""
    return outcome.error is None and not (outcome.lost or outcome.lost_more or outcome.rejected)


def values(store: MemoryStore) -> list[Any]:
    return [point.value for point in store.points]


def contents(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def numbers(first: int, last: int) -> list[float]:
    return [float(number) for number in range(first, last + 1)]


def test_all_is_sent_in_order_and_the_folder_is_removed(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=100, width=50)
    outcome = replay(path, store)
    assert (outcome.sent, outcome.left, outcome.error, is_good(outcome)) == (
        Counts(5_000),
        Counts(),
        None,
        True,
    )
    assert values(store) == numbers(1, 5_000)
    assert not path.exists()


def test_what_the_server_has_is_not_sent_again(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.sessions[SESSION] = 15
    outcome = replay(path, store)
    assert values(store) == numbers(16, 30)
    assert is_good(outcome)
    assert not path.exists()


def test_a_copy_of_what_was_sent_and_went_on_elsewhere_has_nothing_to_send(
    tmp_path: Path, store: MemoryStore
) -> None:
    path = left_spool(tmp_path)
    store.sessions[SESSION] = 500
    outcome = replay(path, store)
    assert (outcome.sent, is_good(outcome)) == (Counts(), True)
    assert store.sessions == {SESSION: 500}
    assert not path.exists()


def test_a_broken_link_is_opened_again(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=20, width=2_000)  # too large to be joined
    store.break_after = 5
    assert is_good(replay(path, store))
    assert store.opened == 2
    assert values(store) == numbers(1, 40_000)


def test_a_server_that_is_busy_is_tried_again(tmp_path: Path, store: MemoryStore) -> None:
    class BusyOnce(MemoryLink):
        def poll(self, timeout: float | None) -> list[LinkEvent]:
            return [Refused(TooBusy("come again"))] if store.opened == 1 else super().poll(timeout)

    path = left_spool(tmp_path)
    assert is_good(Replay(path, destination(store, lambda: BusyOnce(store))).run())
    assert store.opened == 2


def test_what_was_confirmed_once_does_not_wait_for_a_server_that_is_unreachable(
    tmp_path: Path, store: MemoryStore
) -> None:
    # Fails when `Replay` counts what is only retained for a server that might be set back.
    path = left_spool(tmp_path, checkpoint=Checkpoint(10, "one"))
    store.unreachable = True
    assert replay(path, store).left == Counts(20)


@pytest.mark.parametrize(("batches", "ended"), [(3, 1.7e9 + 30), (0, 1.7e9)])
def test_a_replay_reports_when_the_process_was_last_alive(
    tmp_path: Path, store: MemoryStore, batches: int, ended: float
) -> None:
    # The time of the last log call; of a spool without any, when it was made.
    assert is_good(replay(left_spool(tmp_path, batches=batches), store))
    assert store.ended == ended


def test_a_spool_that_is_deleted_while_it_is_sent_is_an_outcome(tmp_path: Path, store: MemoryStore) -> None:
    # Fails when what cannot be noted any more is raised.
    path = left_spool(tmp_path)

    class Deleting(MemoryLink):
        def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
            shutil.rmtree(path)
            raise AuthenticationError("the token was revoked")

    outcome = Replay(path, destination(store, lambda: Deleting(store))).run()
    assert isinstance(outcome.error, AuthenticationError)


def test_a_server_that_is_unreachable_leaves_the_spool_as_it_is(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, checkpoint=Checkpoint(0, "one"))
    store.unreachable = True
    outcome = replay(path, store)
    assert isinstance(outcome.error, ServerUnreachable)
    assert outcome.error.exit_code == 5
    assert outcome.left == Counts(30)
    assert read_checkpoint(path) == Checkpoint(0, "one", str(outcome.error))
    store.unreachable = False
    assert replay(path, store).sent == Counts(30)


@pytest.mark.parametrize(
    "error", [AuthenticationError("who?"), PinMismatch("another key"), StoreFull("full")]
)
def test_what_a_person_must_mend_ends_the_replay_at_once(
    tmp_path: Path, store: MemoryStore, error: TrackError
) -> None:
    path = left_spool(tmp_path)
    store.open_error = error
    before = contents(path)
    outcome = replay(path, store)
    assert outcome.error is error
    assert outcome.left == Counts(30)
    after = contents(path)
    assert {name: after[name] for name in before} == before


def test_a_refusal_ends_the_replay_at_once(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.refuse = PermissionDenied("no rights")
    outcome = replay(path, store)
    assert isinstance(outcome.error, PermissionDenied)
    assert store.opened == 1
    assert len(list(path.glob("*.segment"))) == 1


def test_a_reader_cannot_send(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.role = "reader"
    outcome = replay(path, store)
    assert isinstance(outcome.error, PermissionDenied)
    assert store.batches == 0


def test_another_holder_of_the_session_ends_the_replay(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.refuse = SessionFenced("somebody else")
    outcome = replay(path, store)
    assert "has taken over" in str(outcome.error)
    assert path.exists()


def test_a_server_that_confirms_more_than_there_is_ends_the_replay(
    tmp_path: Path, store: MemoryStore
) -> None:
    class Boastful(MemoryLink):
        def poll(self, timeout: float | None) -> list[LinkEvent]:
            return [Acked(10_000)] if super().poll(timeout) else []

    path = left_spool(tmp_path)
    outcome = Replay(path, destination(store, lambda: Boastful(store))).run()
    assert isinstance(outcome.error, RemoteProtocolError)
    assert path.exists()


def test_what_the_server_rejects_is_reported_and_not_tried_again(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.reject = lambda point: "odd" if point.value == 7 else None
    outcome = replay(path, store)
    assert (outcome.sent, outcome.rejected, outcome.notes) == (Counts(29), Counts(1), ["not stored: odd"])
    assert not is_good(outcome)
    assert outcome.error is None
    assert not path.exists()


# -- other servers, and servers from before --------------------------------------------------------


def test_a_spool_that_lacks_nothing_may_be_sent_anywhere(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, checkpoint=Checkpoint(20, "another store"))
    assert replay(path, store).sent == Counts(30)


def test_what_continues_another_servers_records_is_refused_and_stays_as_it_is(
    tmp_path: Path, store: MemoryStore
) -> None:
    path = left_spool(tmp_path, first=101, checkpoint=Checkpoint(100, "another store"))
    before = contents(path)
    outcome = replay(path, store)
    assert isinstance(outcome.error, SpoolForeign)
    for reported in ("another store", "store one", "log calls 1 to 100", "--to", "--despite-gap"):
        assert reported in str(outcome.error)
    assert contents(path) == before
    assert (store.points, store.sessions) == ([], {})


def test_the_rest_is_sent_despite_the_gap_and_the_gap_is_reported(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, first=101, checkpoint=Checkpoint(100, "another store"))
    outcome = replay(path, store, despite_gap=True)
    assert (outcome.sent, outcome.lost, is_good(outcome)) == (Counts(30), 100, False)
    assert values(store) == numbers(101, 130)
    assert [point.seq for point in store.points] == list(range(101, 131))


def test_another_store_at_the_same_address_gets_nothing_behind_the_scenes(
    tmp_path: Path, store: MemoryStore
) -> None:
    path = left_spool(tmp_path, checkpoint=Checkpoint(0, "the store before"))
    outcome = replay(path, store, same_store=True)
    assert isinstance(outcome.error, SpoolForeign)
    assert store.points == []


def test_a_store_that_was_set_back_gets_what_it_lacks(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, checkpoint=Checkpoint(25, "the store before"))
    store.sessions[SESSION] = 5
    assert is_good(replay(path, store, same_store=True))
    assert values(store) == numbers(6, 30)


# -- damage ----------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    segment = next(path.glob("*.segment"))
    data = bytearray(segment.read_bytes())
    data[at] ^= 1
    segment.write_bytes(data)


def record_length(path: Path, batches: int) -> int:
    return (next(path.glob("*.segment")).stat().st_size - 24) // batches


def test_the_loss_of_damaged_records_is_reported_and_the_rest_is_sent(
    tmp_path: Path, store: MemoryStore
) -> None:
    path = left_spool(tmp_path, batches=3)
    flip(path, 24 + record_length(path, 3) + 40)
    outcome = replay(path, store)
    assert [point.seq for point in store.points] == [*range(1, 11), *range(21, 31)]
    assert values(store) == [*numbers(1, 10), *numbers(21, 30)]
    assert (outcome.sent, outcome.lost, is_good(outcome)) == (Counts(20), 10, False)
    assert len(outcome.damages) == 1
    assert list((path / "damaged").iterdir())
    assert not list(path.glob("*.segment"))


@pytest.mark.parametrize(("at", "lost", "more"), [(60, 10, ""), (-1, 0, ", and perhaps more")])
def test_the_trials_of_a_damaged_spool_learn_once_what_they_lost(
    tmp_path: Path, store: MemoryStore, at: int, lost: int, more: str
) -> None:
    # Fails when `Replay._send` makes no report; and twice over when its session is a new one each time.
    path = left_spool(tmp_path, batches=3)
    flip(path, at)
    copy = shutil.copytree(path, tmp_path / "copy")
    outcomes = replay(path, store), replay(copy, store)
    ((_, seq, method, reported),) = store.calls
    assert (seq, method, reported["trial"], reported["points"]) == (
        1,
        "log_trial_dropped_points",
        TRIAL,
        lost,
    )
    assert (
        reported["reason"]
        == f"damaged on the disk of {os.uname().nodename}, where train.py had queued it{more}"
    )
    assert [outcome.notes for outcome in outcomes] == [[], []]


def test_a_spool_that_lost_nothing_reports_its_trials_nothing(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=3)
    flip(path, 60)
    store.sessions[SESSION] = 10
    replay(path, store)
    assert store.calls == []


def test_damage_at_the_beginning_is_no_gap(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=3)
    flip(path, 60)
    outcome = replay(path, store)
    assert (outcome.sent, outcome.lost, outcome.error) == (Counts(20), 10, None)
    assert [point.seq for point in store.points] == [*range(11, 31)]
    assert not [reported for reported in outcome.notes if "set back" in reported]


def test_damage_of_what_the_server_has_is_no_loss(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=3)
    flip(path, 60)
    store.sessions[SESSION] = 10
    outcome = replay(path, store)
    assert (outcome.sent, outcome.lost, is_good(outcome)) == (Counts(20), 0, True)


def test_a_damaged_last_record_is_reported(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=3)
    flip(path, -1)
    outcome = replay(path, store)
    assert (outcome.sent, outcome.lost_more, is_good(outcome)) == (Counts(20), True, False)
    assert list((path / "damaged").iterdir())


def test_a_torn_tail_is_reported_and_no_loss(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=3)
    segment = next(path.glob("*.segment"))
    segment.write_bytes(segment.read_bytes() + b"\0\0\0\x50\0\0\0\0\0\0\0\x1f")
    outcome = replay(path, store)
    assert (outcome.sent, outcome.torn_bytes, is_good(outcome)) == (Counts(30), 12, True)
    assert not path.exists()


# -- who holds it ----------------------------------------------------------------------------------


def test_a_spool_in_use_is_left_alone(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    holder = SpoolFolder.open(path)
    assert isinstance(replay(path, store).error, SpoolInUse)
    assert store.opened == 0
    holder.close()
    assert is_good(replay(path, store))


def test_two_replays_at_once_end_well_and_nothing_is_doubled(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=200, width=50)
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(replay(path, store))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(store) == numbers(1, 10_000)
    assert store.opened == 1
    assert sorted(type(each.error).__name__ for each in outcomes) == ["NoneType", *["SpoolInUse"] * 3]


def test_an_interrupted_replay_lets_go_of_the_spool(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path)
    store.drop_acks = True

    def interrupt(remaining: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Replay(path, destination(store)).run(interrupt)
    store.drop_acks = False
    assert is_good(replay(path, store))
    assert values(store) == numbers(1, 30)


def test_a_child_that_is_forked_meanwhile_does_not_inherit_the_spool_or_the_link(
    tmp_path: Path, store: MemoryStore
) -> None:
    path = left_spool(tmp_path)
    children: list[int] = []

    def fork(remaining: int) -> None:
        if not children:
            children.append(child := os.fork())
            if child == 0:
                signal.pause()
                os._exit(0)

    replaying = Replay(path, destination(store))
    store.unreachable = True
    assert replaying.run(fork).error is not None
    try:
        assert not is_held(path)
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


# -- how much --------------------------------------------------------------------------------------


def test_points_and_other_log_calls_are_counted_separately(tmp_path: Path, store: MemoryStore) -> None:
    outcome = replay(left_spool(tmp_path, calls=3), store)
    assert (outcome.sent, outcome.left) == (Counts(30, 3), Counts())
    assert (len(store.points), len(store.calls)) == (30, 3)


def test_log_calls_without_any_points_wait_and_are_sent_like_them(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=0, calls=3)
    store.unreachable = True
    assert replay(path, store).left == Counts(calls=3)
    store.unreachable = False
    assert replay(path, store).sent == Counts(calls=3)
    assert not path.exists()


@pytest.mark.parametrize("width", [10, 1])
def test_only_what_the_server_lacked_counts_as_sent(tmp_path: Path, store: MemoryStore, width: int) -> None:
    path = left_spool(tmp_path, batches=30 // width, width=width)
    store.sessions[SESSION] = 15
    assert replay(path, store).sent == Counts(15)


@pytest.mark.parametrize("width", [30, 10, 1])
def test_only_what_the_server_lacks_counts_as_left(tmp_path: Path, store: MemoryStore, width: int) -> None:
    # Fails without `Delivery._offer_entry`: a record that is only on disk counts in full.
    path = left_spool(tmp_path, batches=30 // width, width=width)
    store.sessions[SESSION] = 15
    store.refuse = StoreFull("full")
    assert replay(path, store).left == Counts(15)


def test_what_is_sent_over_several_links_counts_once(tmp_path: Path, store: MemoryStore) -> None:
    path = left_spool(tmp_path, batches=200, width=1)
    store.break_after = 50
    assert replay(path, store).sent == Counts(200)
    assert values(store) == numbers(1, 200)


def test_what_cannot_be_read_any_more_is_reported_and_not_sent(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `_Reasons.drop_all` collects nothing: these points would not be reported anywhere.
    path = left_spool(tmp_path, batches=30, width=1, calls=3)
    location, _ = records_in(path)[30]

    class Damaging(MemoryLink):
        def open(self, session: bytes, timeout: float, ended: float | None = None) -> Opened:
            flip(path, location.start)
            return super().open(session, timeout, ended)

    outcome = Replay(path, destination(store, lambda: Damaging(store))).run()
    assert (outcome.sent, outcome.rejected, is_good(outcome)) == (Counts(30), Counts(calls=3), False)
    assert values(store) == numbers(1, 30)


# -- what it takes ---------------------------------------------------------------------------------


def test_a_replay_takes_no_memory_for_each_record(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `recover` returns single records.
    adopted: list[Extent] = []
    adopt = Backlog.adopt

    def counting(self: Backlog, extents: list[Extent], first: int) -> None:
        adopted.extend(extents)
        adopt(self, extents, first)

    monkeypatch.setattr(Backlog, "adopt", counting)
    assert replay(left_spool(tmp_path, batches=5_000, width=1), store).sent == Counts(5_000)
    assert [each.records for each in adopted] == [4_096, 904]
    assert values(store) == numbers(1, 5_000)


def test_what_is_retained_for_a_server_that_was_set_back_is_reported_in_extents(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `DiskQueue.stored_after` returns what is in the backlog already.
    found: list[list[Extent]] = []
    stored_after = DiskQueue.stored_after

    def counting(self: DiskQueue, last_seq: int) -> list[Extent]:
        found.append(stored_after(self, last_seq))
        found.append(stored_after(self, 0))
        return stored_after(self, last_seq)

    monkeypatch.setattr(DiskQueue, "stored_after", counting)
    path = left_spool(tmp_path, batches=500, width=1, first=101, checkpoint=Checkpoint(100, "another store"))
    assert replay(path, store, despite_gap=True).sent == Counts(500)
    assert found == [[], []]


HERE = "this store"


_ANY = ReplayRules()


def policy(rules: ReplayRules = _ANY, generation: str | None = HERE) -> ReplayPolicy:
    """Those of a spool with log calls 5 to 8."""
    backlog = Backlog()
    backlog.adopt([Extent(5, 8, Counts(4), Location(1, 40, 40))], 5)
    return ReplayPolicy(rules, Path("spool"), "the server", "its address", backlog, Checkpoint(4, generation))


def opened(last_seq: int, generation: str = HERE, role: Role = Role.WRITER) -> Opened:
    return Opened(last_seq, generation, role)


def test_a_server_that_has_all_that_came_before_is_admitted() -> None:
    found = policy()
    assert found.admit(opened(4)) == opened(4)
    assert (found.had, found.gap, found.generation) == (4, 0, HERE)


def test_a_server_that_lacks_what_came_before_is_foreign() -> None:
    with pytest.raises(SpoolForeign, match=r"log calls 3 to 4, .* are not at the server"):
        policy().admit(opened(2))


def test_whoever_wants_it_despite_the_gap_learns_how_large_it_is() -> None:
    found = policy(ReplayRules(despite_gap=True))
    found.admit(opened(2))
    assert found.gap == 2


def test_another_store_is_admitted_only_by_hand() -> None:
    other_store = opened(0, "another store")
    with pytest.raises(SpoolForeign, match="has another store than the one"):
        policy(ReplayRules(despite_gap=True, same_store=True)).admit(other_store)
    assert policy(ReplayRules(despite_gap=True)).admit(other_store) == other_store


def test_a_reader_may_send_nothing_but_learn_that_all_is_there() -> None:
    with pytest.raises(PermissionDenied, match="role reader"):
        policy().admit(opened(7, role=Role.READER))
    assert policy().admit(opened(8, role=Role.READER)).last_seq == 8


def test_what_a_server_has_beyond_this_copy_is_none_of_its_business() -> None:
    assert policy().admit(opened(100)).last_seq == 8


def test_a_server_that_confirms_more_than_there_is_is_wrong() -> None:
    with pytest.raises(RemoteProtocolError, match="confirmed record 9, but spool ends with 8"):
        policy().check(Acked(9))


def test_what_a_server_refuses_for_good_is_counted() -> None:
    found = policy()
    found.sending(Batch(5, 4, [CallOp(0, "commit", {}), CallOp(2, "commit", {})]))
    found.check(Acked(8, [Rejection(7, "item_not_found", "no such trial")]))
    assert found.refused == Counts(calls=1)


def test_an_error_that_passes_ends_nothing_and_the_first_other_one_counts() -> None:
    found = policy()
    stops: list[str] = []
    found.stop = lambda: stops.append("stopped")
    found.judge(ServerUnreachable("it is unreachable"))
    assert (found.error, stops) == (None, [])
    found.judge(SessionFenced("another holder"))
    found.judge(StoreFull("no room"))
    assert isinstance(found.error, SessionFenced)
    assert "is being sent by another process" in str(found.error)


def under_way(found: ReplayPolicy) -> ReplayPolicy:
    """Records 5 to 8 are sent: two points in each of the first three, and a call in the last."""
    records = [(Shape(b"t" * 16, METRIC, ("a", "b"), None), n, 1.0, {"a": 1.0, "b": 2.0}) for n in range(3)]
    found.sending(batch_of(5, [*records, (CALL, "add_trial_tags", 1.0, {}, 64)]))
    return found


def test_what_the_server_gets_is_counted_record_by_record() -> None:
    found = policy()
    found.admit(opened(5))
    under_way(found).check(Acked(6))
    assert found.sent == Counts(2)
    found.check(Acked(8))
    assert found.sent == Counts(4, 1)


def test_what_the_server_has_got_on_a_link_that_broke_counts_as_sent() -> None:
    # Fails when `ReplayPolicy.admit` does not count.
    found = policy()
    found.admit(opened(4))
    under_way(found)
    found.admit(opened(8))
    assert found.sent == Counts(6, 1)


def test_what_is_refused_is_not_sent() -> None:
    found = policy()
    found.admit(opened(4))
    under_way(found).check(Acked(8, [Rejection(6, "bad-value", "odd"), Rejection(8, "bad-value", "odd")]))
    assert (found.sent, found.refused) == (Counts(4), Counts(2, 1))


def test_what_was_refused_before_is_reported_and_takes_nothing_from_what_is_sent_now() -> None:
    # Fails when `ReplayPolicy.check` subtracts whatever is refused.
    found = policy()
    found.admit(opened(6))
    under_way(found).check(Acked(8, [Rejection(5, "bad-value", "odd")]))
    assert (found.sent, found.refused) == (Counts(2, 1), Counts(2))
