from __future__ import annotations

import pytest

from track_protocol.errors import FrameTooLarge, LocalProtocolError, RemoteProtocolError
from track_protocol.wire import answers
from track_protocol.wire.answers import Answers
from track_protocol.wire.codec import encode
from track_protocol.wire.events import ErrorReceived, Follows, ResultPart, ResultReceived

FAILED = ErrorReceived(1, "busy", "come again", None)


def waiting(*call_ids: int) -> Answers:
    """Calls that wait for their answers."""
    waits = Answers()
    for call_id in call_ids:
        waits.expect(call_id)
    return waits


def test_an_answer_in_one_part_is_complete() -> None:
    assert waiting(1).take(ResultPart(1, Follows.NOTHING, encode([1]))) == ResultReceived(1, [1])


def test_parts_are_put_together_in_order() -> None:
    data = encode("x" * 100)
    waits = waiting(1)
    assert waits.take(ResultPart(1, Follows.PART, data[:40])) is None
    assert waits.take(ResultPart(1, Follows.PART, data[40:80])) is None
    assert waits.take(ResultPart(1, Follows.NOTHING, data[80:])) == ResultReceived(1, "x" * 100)


def test_the_parts_of_several_answers_may_alternate() -> None:
    one, other = encode("one" * 20), encode("other" * 20)
    waits = waiting(1, 2)
    waits.take(ResultPart(1, Follows.PART, one[:10]))
    waits.take(ResultPart(2, Follows.PART, other[:10]))
    assert waits.take(ResultPart(1, Follows.NOTHING, one[10:])) == ResultReceived(1, "one" * 20)
    assert waits.take(ResultPart(2, Follows.NOTHING, other[10:])) == ResultReceived(2, "other" * 20)


def test_a_call_may_fail_after_parts_of_its_answer() -> None:
    waits = waiting(1)
    waits.take(ResultPart(1, Follows.PART, b"abc"))
    assert waits.take(FAILED) is FAILED


@pytest.mark.parametrize(
    "event", [ResultPart(1, Follows.NOTHING, b"\xc0"), ResultPart(1, Follows.PART, b"\xc0"), FAILED], ids=str
)
def test_an_answer_that_is_not_pending_is_refused(event: ResultPart | ErrorReceived) -> None:
    with pytest.raises(RemoteProtocolError, match="call 1, which is not pending"):
        waiting(2).take(event)


@pytest.mark.parametrize("event", [ResultPart(1, Follows.NOTHING, b"\xc0"), FAILED], ids=str)
def test_a_second_answer_is_refused(event: ResultPart | ErrorReceived) -> None:
    waits = waiting(1)
    waits.take(event)
    with pytest.raises(RemoteProtocolError, match="is not pending"):
        waits.take(event)


def test_an_id_is_free_again_after_the_answer() -> None:
    waits = waiting(1)
    with pytest.raises(LocalProtocolError, match="still waits"):
        waits.check_free(1)
    waits.take(FAILED)
    waits.check_free(1)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xc0\xc0", b"\xdd\x7f\xff\xff\xff"])
def test_an_answer_that_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        waiting(1).take(ResultPart(1, Follows.NOTHING, data))


@pytest.fixture
def a_limit_of_1000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_LIMIT", 1000)


@pytest.mark.usefixtures("a_limit_of_1000_bytes")
def test_an_answer_over_the_limit_is_refused() -> None:
    waits = waiting(1)
    waits.take(ResultPart(1, Follows.PART, bytes(1000)))
    with pytest.raises(FrameTooLarge, match="ask for less at once"):
        waits.take(ResultPart(1, Follows.PART, b"x"))


@pytest.mark.usefixtures("a_limit_of_1000_bytes")
def test_the_limit_is_on_all_parts_that_are_held() -> None:
    waits = waiting(1, 2, 3)
    waits.take(ResultPart(1, Follows.PART, bytes(400)))
    waits.take(ResultPart(2, Follows.PART, bytes(400)))
    with pytest.raises(FrameTooLarge):
        waits.take(ResultPart(3, Follows.PART, bytes(400)))


@pytest.mark.usefixtures("a_limit_of_1000_bytes")
def test_what_was_answered_is_held_no_more() -> None:
    waits = waiting(*range(1, 9))
    for call_id in range(1, 8):
        waits.take(ResultPart(call_id, Follows.PART, encode(b"x" * 400)[:200]))
        waits.take(ResultPart(call_id, Follows.NOTHING, encode(b"x" * 400)[200:]))
    waits.take(ResultPart(8, Follows.PART, bytes(600)))
    waits.take(ErrorReceived(8, "busy", "come again", None))
    waits.expect(9)
    assert waits.take(ResultPart(9, Follows.PART, bytes(900))) is None


def test_the_pages_of_a_list_become_one_list() -> None:
    waits = waiting(1)
    assert waits.take(ResultPart(1, Follows.PAGE, encode([1, 2]))) is None
    page = encode(["x" * 100])
    assert waits.take(ResultPart(1, Follows.PART, page[:10])) is None
    assert waits.take(ResultPart(1, Follows.PAGE, page[10:])) is None
    assert waits.take(ResultPart(1, Follows.NOTHING, encode([]))) == ResultReceived(1, [1, 2, "x" * 100])


@pytest.mark.parametrize("follows", [Follows.PAGE, Follows.NOTHING])
def test_a_page_that_is_no_list_is_refused(follows: Follows) -> None:
    waits = waiting(1)
    waits.take(ResultPart(1, Follows.PAGE, encode([1])))
    with pytest.raises(RemoteProtocolError, match="is a list"):
        waits.take(ResultPart(1, follows, encode("x")))


def test_pages_count_until_their_answer_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWER_LIMIT", 1000)
    waits = waiting(1, 2)
    waits.take(ResultPart(1, Follows.PAGE, encode([bytes(600)])))
    with pytest.raises(FrameTooLarge):
        waits.take(ResultPart(2, Follows.PAGE, encode([bytes(600)])))
