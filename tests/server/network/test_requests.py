"""What one peer asks for: who may, how much of it at once, and in which order it is answered."""

from __future__ import annotations

import select
from dataclasses import replace

import pytest

from engine_calls import points
from running_server import Served, busy_disk, limited, serving
from socket_peers import Peer, joined, plain_peer
from track_protocol.errors import (
    PermissionDenied,
)
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

SID = b"\x07" * 16


@pytest.fixture
def ann(served: Served, stranger: Peer) -> Peer:
    stranger.log_in(served.join("ann"))
    return stranger


def frame(kind: FrameKind, *fields: object) -> bytes:
    return encode_frame(kind, list(fields))


def test_a_reader_may_read_and_not_write_while_others_go_on(served: Served) -> None:
    with joined(served.join("writer")) as writer, joined(served.join("reader", Role.READER)) as reader:
        id = writer.new_trial()["id"]
        with pytest.raises(PermissionDenied, match="reader"):
            reader.call("new_project", project={"uid": "p"})
        with pytest.raises(PermissionDenied, match="reader"):
            reader.log(CallOp(0, "add_trial_tags", {"trial": id, "tags": {"a": 1}}))
        assert writer.log(points(id, loss=[1.0])).rejected == []
        assert [trial["tags"] for trial in reader.read("fetch_trials", query={})] == [{}]


def test_a_readers_batch_is_refused_with_the_number_it_began_with(served: Served, stranger: Peer) -> None:
    stranger.log_in(served.join("reader", Role.READER))
    stranger.protocol.send_batch(Batch(5, 1, [CallOp(0, "add_trial_tags", {"trial": "t", "tags": {}})]))
    refused = stranger.expect(NackReceived)
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


def test_a_paused_peer_goes_on_where_it_stopped(settings: Settings) -> None:
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


@pytest.mark.usefixtures("watchful")
def test_a_paused_peer_is_not_taken_for_a_dead_one(settings: Settings) -> None:
    limits = limited(settings, batches_in_flight=1, silence_seconds=0.1)
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
