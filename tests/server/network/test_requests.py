"""What one peer asks for: who may, how much of it at once, and in which order it is answered."""

from __future__ import annotations

import logging
import re
import select
from dataclasses import replace

import pytest

from engine_calls import points
from running_server import Served, busy_disk, limited, serving
from socket_peers import SECONDS, Joined, Peer, joined, peer, plain_peer
from track_protocol.errors import PermissionDenied, StoreError
from track_protocol.wire.batch import Batch, CallOp
from track_protocol.wire.columns import column_from_wire, unpack
from track_protocol.wire.events import (
    AckReceived,
    NackReceived,
    PongReceived,
    ResultReceived,
)
from track_protocol.wire.frames import FrameKind, encode_frame
from track_protocol.wire.link import Acked
from track_protocol.wire.roles import Role
from track_server.app import Settings
from track_server.engine.readers import PAGE_BYTES
from waiting import wait_until

SID = b"\x07" * 16


@pytest.fixture
def ann(served: Served, unauthenticated: Peer) -> Peer:
    unauthenticated.log_in(served.join("ann"))
    return unauthenticated


def frame(kind: FrameKind, *fields: object) -> bytes:
    return encode_frame(kind, list(fields))


def test_a_reader_may_read_and_not_write_and_disturbs_nobody(served: Served) -> None:
    with joined(served.join("writer")) as writer, joined(served.join("reader", Role.READER)) as reader:
        id = writer.new_trial()["id"]
        with pytest.raises(PermissionDenied, match="reader"):
            reader.call("new_project", project={"uid": "p"})
        with pytest.raises(PermissionDenied, match="reader"):
            reader.log(CallOp(0, "add_trial_tags", {"trial": id, "tags": {"a": 1}}))
        assert writer.log(points(id, loss=[1.0])).rejected == []
        assert [trial["tags"] for trial in reader.read("fetch_trials", query={})] == [{}]


def test_a_readers_batch_is_refused_with_the_number_it_began_with(
    served: Served, unauthenticated: Peer
) -> None:
    unauthenticated.log_in(served.join("reader", Role.READER))
    unauthenticated.protocol.send_batch(
        Batch(5, 1, [CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}})])
    )
    refused = unauthenticated.expect(NackReceived)
    assert (refused.expected, refused.code) == (5, PermissionDenied.code)


def sent_until_paused(peer: Peer, frame: bytes, at_most: int) -> int:
    """How many bytes the server takes before it stops reading."""
    chunk = frame * max(1, 65_536 // len(frame))
    peer.socket.settimeout(0.5)
    sent = 0
    try:
        while sent < at_most:
            peer.socket.sendall(chunk)
            sent += len(chunk)
    except TimeoutError:
        pass
    return sent


PLENTY = 48 * 1024 * 1024
"""More than all buffers between two ends on this machine hold."""


def test_batches_that_are_not_stored_yet_stop_the_reading(settings: Settings) -> None:
    narrow = limited(
        replace(settings, plaintext=True),
        batches_in_flight=4,
        bytes_in_flight=10**12,
        all_bytes_in_flight=10**12,
    )
    with serving(narrow) as served, plain_peer(served) as ann:
        ann.log_in(served.join("ann", pin=""))
        batch = frame(
            FrameKind.BATCH, 1, 1, [[1, 0, "add_trial_tags", {"trial": "t", "tags": {"x": "y" * 60_000}}]]
        )
        with busy_disk(served):
            assert sent_until_paused(ann, batch, PLENTY) < PLENTY


def test_reads_that_wait_stop_the_reading_too(settings: Settings) -> None:
    narrow = limited(
        replace(settings, plaintext=True),
        batches_in_flight=4,
        bytes_in_flight=10**12,
        all_bytes_in_flight=10**12,
    )
    with serving(narrow) as served, plain_peer(served) as ann:
        ann.log_in(served.join("ann", pin=""))
        read = frame(FrameKind.CALL, 1, None, "fetch_trials", {"query": {"uid": "x" * 60_000}})
        with busy_disk(served):
            ann.protocol.send_batch(Batch(1, 1, []))
            ann.flush()
            assert sent_until_paused(ann, read, PLENTY) < PLENTY


def test_bytes_that_are_not_stored_yet_stop_the_reading(settings: Settings) -> None:
    narrow = limited(
        replace(settings, plaintext=True),
        batches_in_flight=10**9,
        bytes_in_flight=100_000,
        all_bytes_in_flight=10**12,
    )
    with serving(narrow) as served, plain_peer(served) as ann:
        ann.log_in(served.join("ann", pin=""))
        numbers = b"\0" * 8 * 4096
        op = [0, SID, "metric", ["loss"], None, 0, ["q", numbers], ["d", numbers], [["d", numbers]]]
        with busy_disk(served):
            assert sent_until_paused(ann, frame(FrameKind.BATCH, 1, 4096, [op]), PLENTY) < PLENTY


def test_a_flood_of_many_peers_stops_the_reading_of_each_but_not_of_the_quiet(settings: Settings) -> None:
    roomy = {"batches_in_flight": 10**9, "bytes_in_flight": 10**12}
    narrow = limited(
        replace(settings, plaintext=True), **roomy, all_bytes_in_flight=200_000, fair_bytes=50_000
    )
    numbers = b"\0" * 8 * 4096
    op = [0, SID, "metric", ["loss"], None, 0, ["q", numbers], ["d", numbers], [["d", numbers]]]
    flood = frame(FrameKind.BATCH, 1, 4096, [op])
    with serving(narrow) as served, plain_peer(served) as ann, plain_peer(served) as quiet:
        for name, one in (("ann", ann), ("quiet", quiet)):
            one.log_in(served.join(name, pin=""))
        with busy_disk(served):
            assert sent_until_paused(ann, flood, PLENTY) < PLENTY
            quiet.protocol.send_batch(Batch(1, 1, [points(SID, steps=[0], loss=[0.0])]))
            for token in (1, 2):
                quiet.protocol.send_ping(token)
                assert quiet.expect(PongReceived).token == token


def test_a_paused_peer_continues_where_it_stopped(settings: Settings) -> None:
    with serving(limited(settings, batches_in_flight=4)) as served, joined(served.join("ann")) as ann:
        id = ann.new_trial()["id"]
        with busy_disk(served) as go_on:
            for number in range(200):
                ann.send(points(id, steps=[number], loss=[float(number)]))
            assert ann.link.poll(0.2) == []
            go_on()
            acked = ann.next_events()
            while len(acked) < 200:
                acked += ann.next_events()
        answer = ann.read("fetch_metrics", trial=id, name="loss")
        assert list(unpack(column_from_wire(answer["values"], 200))) == [
            float(number) for number in range(200)
        ]


def test_a_paused_peer_is_not_taken_for_a_dead_one(settings: Settings) -> None:
    limits = limited(settings, batches_in_flight=1, silence_seconds=0.1, watch_seconds=0.02)
    with serving(limits) as served, joined(served.join("ann")) as ann:
        id = ann.new_trial()["id"]
        with busy_disk(served) as go_on:
            ann.send(points(id, loss=[1.0]))
            assert ann.link.poll(0.6) == []
            go_on()
            assert isinstance(ann.next(), Acked)


def test_an_acknowledgement_comes_only_after_the_batch_is_stored(served: Served) -> None:
    with joined(served.join("ann")) as ann, joined(served.join("eve")) as eve:
        id = ann.new_trial()["id"]
        with busy_disk(served) as go_on:
            ann.send(CallOp(0, "add_trial_tags", {"trial": id, "tags": {"a": 1}}))
            assert ann.link.poll(0.2) == []
            go_on()
            assert isinstance(ann.next(), Acked)
        assert eve.read("get_trial", trial={"id": id})[0]["tags"] == {"a": 1}


def test_a_read_sees_what_the_same_session_wrote_just_before(served: Served, ann: Peer) -> None:
    trial = {"id": SID, "hash": "h", "revision": 0}
    with busy_disk(served) as go_on:
        ann.protocol.send_call(1, 1, "new_trial", {"trial": trial, "auto_increment": True})
        ann.protocol.send_batch(Batch(2, 1, [CallOp(0, "add_trial_tags", {"trial": SID, "tags": {"a": 1}})]))
        ann.protocol.send_call(2, None, "get_trial", {"trial": {"id": SID}})
        ann.flush()
        assert select.select([ann.socket], [], [], 0.2)[0] == []
        go_on()
        assert ann.expect(ResultReceived).call_id == 1
        assert ann.expect(AckReceived).last_seq == 2
        assert ann.expect(ResultReceived).value[0]["tags"] == {"a": 1}


def filled(ann: Joined, trials: int, **parameters: object) -> None:
    for _ in range(trials):
        ann.new_trial(parameters=parameters)


def test_pages_that_a_peer_does_not_read_are_charged_until_it_ends(served: Served) -> None:
    server = served.server
    assert server is not None
    with joined(served.join("ann")) as ann:
        filled(ann, 40, **{str(number): "x" * 60_000 for number in range(10)})
        with peer(served) as deaf:
            deaf.log_in(served.join("bob", Role.READER))
            deaf.protocol.send_call(1, None, "fetch_trials", {"query": {}})
            deaf.flush()
            (session,) = [each for each in server.sessions if each.username == "bob"]
            wait_until(lambda: not session.listens, "that bob is sent more than it reads")
            wait_until(lambda: server.memory.used > 0, "the pages that were begun")
        wait_until(lambda: server.memory.used == 0, "that nothing is charged any more")


def test_a_page_is_made_only_once_there_is_memory_for_it(settings: Settings) -> None:
    with serving(limited(settings, memory_bytes=5 * PAGE_BYTES)) as served:
        server, uri = served.server, served.join("bob", Role.READER)
        assert server is not None
        with joined(served.join("ann")) as ann:
            filled(ann, 200, text="x" * 60_000)  # two to a page, which is most of what bob may hold
        with peer(served) as second:
            with peer(served) as deaf:
                deaf.log_in(uri)
                deaf.protocol.send_call(1, None, "fetch_trials", {"query": {}})
                deaf.flush()
                (session,) = [each for each in server.sessions if each.username == "bob"]
                wait_until(lambda: not session.listens, "that bob is sent more than it reads")
                second.log_in(uri)
                second.protocol.send_call(1, None, "fetch_trials", {"query": {"uid": "none"}})
                second.flush()
                second.socket.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    second.expect(ResultReceived)
            second.socket.settimeout(SECONDS)
            assert second.expect(ResultReceived).value == []


def test_the_values_of_a_large_frame_are_charged_until_its_call_is_answered(
    served: Served, ann: Peer
) -> None:
    server = served.server
    assert server is not None
    items = 20_000
    with busy_disk(served) as finish:
        ann.protocol.send_call(
            1, 1, "new_project", {"project": {"uid": "p", "metadata": {"a": [[]] * items}}}
        )
        ann.flush()
        wait_until(lambda: server.memory.used >= 64 * items, "that the frame is charged")
        finish()
        assert ann.expect(ResultReceived).call_id == 1
    wait_until(lambda: server.memory.used == 0, "that nothing is charged any more")


def test_a_large_frame_is_charged_as_soon_as_its_size_is_known(served: Served, ann: Peer) -> None:
    server = served.server
    assert server is not None
    ann.socket.sendall((500_000).to_bytes(4, "big") + b"x")
    wait_until(lambda: server.memory.used >= 500_000, "that the frame is charged")
    ann.socket.close()
    wait_until(lambda: server.memory.used == 0, "that nothing is charged any more")


def test_a_read_that_takes_too_long_is_answered_with_what_to_do(settings: Settings) -> None:
    with serving(limited(settings, read_seconds=0.0)) as served, joined(served.join("ann")) as ann:
        filled(ann, 200, x="y" * 100)
        costly = {"$or": [{f"parameters.x{number}": {"$contains": "z"}} for number in range(100)]}
        with pytest.raises(StoreError, match="took too long: ask for less, with limit, fields or a narrower"):
            ann.read("fetch_trials", query=costly)
        assert len(ann.read("fetch_trials", query={}, limit=1)) == 1


def test_the_log_says_what_a_read_took_and_not_what_it_asked_for(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="track_server.network.requests")
    with joined(served.join("ann")) as ann:
        filled(ann, 10, x="y" * 20_000)
        assert len(ann.read("fetch_trials", query={"parameters.secret": {"$exists": False}})) == 10
    (line,) = [each.getMessage() for each in caplog.records if "fetch_trials" in each.getMessage()]
    assert re.fullmatch(r"fetch_trials of ann: [1-9]\d* pages, 2\d{5} bytes, [\d.]+ ms", line)
