"""What a server must have for a spool to be sent to it, and what ends that."""

from __future__ import annotations

from pathlib import Path

import pytest

from track.outbox.backlog import Backlog
from track.outbox.records import CALL, Shape, batch_of
from track.resend.terms import Rules, Terms
from track.spool.folder import Progressed
from track.spool.stretches import Stretch
from track.spool.writer import Place
from track_protocol.errors import (
    PermissionDenied,
    RemoteProtocolError,
    ServerUnreachable,
    SessionFenced,
    SpoolForeign,
    StoreFull,
)
from track_protocol.wire.amount import Amount
from track_protocol.wire.batch import METRIC, Batch, CallOp
from track_protocol.wire.link import Acked, Opened, Rejection
from track_protocol.wire.roles import Role

HERE = "this store"


_ANY = Rules()


def terms(rules: Rules = _ANY, generation: str | None = HERE) -> Terms:
    """Those of a spool with log calls 5 to 8."""
    backlog = Backlog()
    backlog.adopt(Stretch(5, 8, Amount(4), Place(1, 40, 40)))
    return Terms(rules, Path("spool"), "the server", "its address", backlog, Progressed(4, generation))


def opened(last_seq: int, generation: str = HERE, role: Role = Role.WRITER) -> Opened:
    return Opened(last_seq, generation, role)


def test_a_server_that_has_all_that_came_before_is_admitted() -> None:
    found = terms()
    assert found.admit(opened(4)) == opened(4)
    assert (found.had, found.gap, found.generation) == (4, 0, HERE)


def test_a_server_that_lacks_what_came_before_is_foreign() -> None:
    with pytest.raises(SpoolForeign, match=r"log calls 3 to 4, .* are not at the server"):
        terms().admit(opened(2))


def test_whoever_wants_it_despite_the_gap_learns_how_large_it_is() -> None:
    found = terms(Rules(despite_gap=True))
    found.admit(opened(2))
    assert found.gap == 2


def test_another_store_is_admitted_only_by_hand() -> None:
    stranger = opened(0, "another store")
    with pytest.raises(SpoolForeign, match="has another store than the one"):
        terms(Rules(despite_gap=True, same_store=True)).admit(stranger)
    assert terms(Rules(despite_gap=True)).admit(stranger) == stranger


def test_a_reader_may_send_nothing_but_learn_that_all_is_there() -> None:
    with pytest.raises(PermissionDenied, match="is a reader"):
        terms().admit(opened(7, role=Role.READER))
    assert terms().admit(opened(8, role=Role.READER)).last_seq == 8


def test_what_a_server_has_beyond_this_copy_is_none_of_its_business() -> None:
    assert terms().admit(opened(100)).last_seq == 8


def test_a_server_that_confirms_more_than_there_is_is_wrong() -> None:
    with pytest.raises(RemoteProtocolError, match="confirmed record 9, but spool ends with 8"):
        terms().check(Acked(9))


def test_what_a_server_refuses_for_good_is_counted() -> None:
    found = terms()
    found.sending(Batch(5, 4, [CallOp(0, "commit", {}), CallOp(2, "commit", {})]))
    found.check(Acked(8, [Rejection(7, "item_not_found", "no such trial")]))
    assert found.refused == Amount(calls=1)


def test_an_error_that_passes_ends_nothing_and_the_first_other_one_counts() -> None:
    found = terms()
    stops: list[str] = []
    found.stop = lambda: stops.append("stopped")
    found.judge(ServerUnreachable("it is away"))
    assert (found.error, stops) == (None, [])
    found.judge(SessionFenced("another holder"))
    found.judge(StoreFull("no room"))
    assert isinstance(found.error, SessionFenced)
    assert "is being sent by another process" in str(found.error)


def under_way(found: Terms) -> Terms:
    """Records 5 to 8 are sent: two points in each of the first three, and a call in the last."""
    rows = [(Shape(b"t" * 16, METRIC, ("a", "b"), None), n, 1.0, {"a": 1.0, "b": 2.0}) for n in range(3)]
    found.sending(batch_of(5, [*rows, (CALL, "add_trial_tags", 1.0, {}, 64)]))
    return found


def test_what_the_server_gets_is_counted_record_by_record() -> None:
    found = terms()
    found.admit(opened(5))
    under_way(found).check(Acked(6))
    assert found.sent == Amount(2)
    found.check(Acked(8))
    assert found.sent == Amount(4, 1)


def test_what_the_server_has_got_on_a_link_that_broke_counts_as_sent() -> None:
    # Fails when `Terms.admit` does not count.
    found = terms()
    found.admit(opened(4))
    under_way(found)
    found.admit(opened(8))
    assert found.sent == Amount(6, 1)


def test_what_is_refused_is_not_sent() -> None:
    found = terms()
    found.admit(opened(4))
    under_way(found).check(Acked(8, [Rejection(6, "bad-value", "odd"), Rejection(8, "bad-value", "odd")]))
    assert (found.sent, found.refused) == (Amount(4), Amount(2, 1))


def test_what_was_refused_before_is_told_and_takes_nothing_from_what_is_sent_now() -> None:
    # Fails when `Terms.check` subtracts whatever is refused.
    found = terms()
    found.admit(opened(6))
    under_way(found).check(Acked(8, [Rejection(5, "bad-value", "odd")]))
    assert (found.sent, found.refused) == (Amount(2, 1), Amount(2))
