"""Bad input raises an error at the client that sent it, and affects neither the store nor other clients."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine_calls import points
from running_server import Served, ServerProcess
from socket_peers import SECONDS, Joined, Peer, joined, peer, plain_peer
from track import TrackClient
from track_protocol.errors import (
    AuthenticationError,
    BadArguments,
    BadQuery,
    EncryptionMismatch,
    FrameTooLarge,
    PermissionDenied,
    PinMismatch,
    RemoteProtocolError,
    SequenceGap,
    ServerUnreachable,
    TrackError,
    UnknownMethod,
    UnknownScheme,
    UriError,
)
from track_protocol.security.tokens import new_token
from track_protocol.wire.batch import CallOp
from track_protocol.wire.columns import column_from_wire, unpack
from track_protocol.wire.connection import State
from track_protocol.wire.events import CloseReceived, ServerHelloReceived
from track_protocol.wire.frames import FRAME_LIMIT, GREETING_LIMIT, FrameKind, encode_frame
from track_protocol.wire.roles import Role


@dataclass
class Witness:
    """A server on a SQLite store, and a client that logs to it all the time."""

    served: Served
    client: Joined
    trial: bytes
    values: list[float]

    def check_continues(self) -> None:
        """Log another point, and check that exactly the logged points are stored."""
        self.values.append(float(len(self.values)))
        assert self.client.log(points(self.trial, loss=self.values[-1:])).rejected == []
        answer = self.client.read("fetch_metrics", trial=self.trial, name="loss")
        assert list(unpack(column_from_wire(answer["values"], len(self.values)))) == self.values
        assert [trial["id"] for trial in self.client.read("fetch_trials", query={})] == [self.trial]
        assert self.client.read("fetch_projects", query={}) == []


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    folder = tmp_path_factory.mktemp("bad-input")
    with ServerProcess(f"sqlite:{folder}/runs.db", folder / "home") as server:
        served = server.served
        with joined(served.join("witness")) as client:
            id = client.new_trial("witness")["id"]
            yield Witness(served, client, id, [])
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def writer(witness: Witness) -> str:
    return witness.served.join("writer")


@pytest.fixture(scope="module")
def reader(witness: Witness) -> str:
    return witness.served.join("reader", Role.READER)


# -- logins --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        (lambda served: served.uri("witness", new_token()), AuthenticationError),
        (lambda served: served.uri("nobody", new_token()), AuthenticationError),
        (lambda served: served.uri("", new_token()), AuthenticationError),
        (lambda served: served.uri("witness", "trk_short"), AuthenticationError),
        (lambda served: served.uri("witness", new_token(), pin="sha256:" + "A" * 43), PinMismatch),
        (lambda served: served.uri("a" * 2000, new_token()), AuthenticationError),
        (
            lambda served: f"socket://a:b@127.0.0.1:{served.port}?security_layer=plaintext",
            AuthenticationError,
        ),
        (
            lambda served: f"socket://a:{new_token()}@127.0.0.1:{served.port}?security_layer=plaintext",
            EncryptionMismatch,
        ),
    ],
)
def test_a_failed_login_says_why(
    witness: Witness, uri: Callable[[Served], str], kind: type[TrackError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nothing")  # as on another machine
    with pytest.raises(TrackError) as caught:
        Joined(uri(witness.served))
    assert type(caught.value) is kind
    assert caught.value.exit_code == 4
    witness.check_continues()


# -- bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01" + b"\xff" * 500,
        b"\xff" * 100_000,
        b"",
    ],
)
def test_garbage_instead_of_tls_ends_its_own_connection_only(witness: Witness, data: bytes) -> None:
    with socket.create_connection((witness.served.host, witness.served.port), SECONDS) as rude:
        try:
            rude.sendall(data)
            rude.shutdown(socket.SHUT_WR)
            while rude.recv(65_536):
                pass
        except OSError:
            pass  # hung up on at once, which is also correct
    witness.check_continues()


def test_a_plain_text_client_gets_the_advice_to_use_tls(witness: Witness) -> None:
    with plain_peer(witness.served) as plain:
        plain.protocol.send_client_hello("test", b"\0" * 16)
        assert plain.expect(CloseReceived).code == EncryptionMismatch.code
    witness.check_continues()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x05hello", RemoteProtocolError),
        (b"\x16\x03\x01\x02\x00" + b"\0" * 20, TrackError),
        ((GREETING_LIMIT + 1).to_bytes(4, "big"), FrameTooLarge),
        (b"\xff\xff\xff\xff" + b"\xff" * 3000, FrameTooLarge),
        (b"\0\0\x0f\x00" + b"\x91" * 3840, RemoteProtocolError),
        (encode_frame(FrameKind.BATCH, [1, 1, []]), RemoteProtocolError),
    ],
)
def test_garbage_before_the_login_ends_its_own_connection_only(
    witness: Witness, data: bytes, kind: type[TrackError]
) -> None:
    with peer(witness.served) as rude:
        rude.protocol.state = State.GREETING
        rude.socket.sendall(data)
        with pytest.raises(kind):
            rude.expect(ServerHelloReceived)
        assert rude.ended()
    witness.check_continues()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\0\0\0\x05hello", RemoteProtocolError),
        ((FRAME_LIMIT + 1).to_bytes(4, "big"), FrameTooLarge),
        (encode_frame(FrameKind.HELLO, [[1], "test", b"\0" * 16]), RemoteProtocolError),
        (encode_frame(FrameKind.BATCH, [1, 1, [[0, b"\0" * 16]]]), RemoteProtocolError),
        (encode_frame(FrameKind.CALL, [1, None, "fetch_trials", []]), RemoteProtocolError),
    ],
)
def test_garbage_after_the_login_ends_its_own_connection_only(
    witness: Witness, writer: str, data: bytes, kind: type[TrackError]
) -> None:
    with peer(witness.served) as rude:
        rude.log_in(writer)
        rude.socket.sendall(data)
        with pytest.raises(kind):
            rude.expect(ServerHelloReceived)
        assert rude.ended()
    witness.check_continues()


def test_an_incomplete_frame_is_dropped(witness: Witness, writer: str) -> None:
    def break_off(rude: Peer) -> None:
        rude.log_in(writer)
        rude.socket.sendall(encode_frame(FrameKind.CALL, [1, None, "fetch_trials", {"query": {}}])[:-1])

    with peer(witness.served) as rude:
        break_off(rude)
    witness.check_continues()


# -- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "arguments", "kind"),
    [
        ("drop_everything", {}, UnknownMethod),
        ("__class__", {}, UnknownMethod),
        ("new_trial", {"trial": 7}, BadArguments),
        ("new_trial", {"trial": {"id": 7}}, BadArguments),
        ("new_trial", {"trial": {"id": b"\0" * 16, "hash": "h", "revision": 0, "x": 1}}, BadArguments),
        ("new_project", {"project": {"uid": None}}, BadArguments),
        (
            "fetch_and_update_trial",
            {"query": {}, "update": {"method": "__class__", "arguments": {}}},
            UnknownMethod,
        ),
        ("fetch_and_update_trial", {"query": {"a": {"$b": 1}}, "update": {}}, BadArguments),
    ],
)
def test_an_invalid_write_changes_nothing(
    witness: Witness, writer: str, method: str, arguments: dict[str, object], kind: type[TrackError]
) -> None:
    with joined(writer) as rude:
        with pytest.raises(TrackError) as caught:
            rude.call(method, **arguments)
        assert type(caught.value) is kind
        witness.check_continues()
        assert rude.read("get_trial", trial={"id": witness.trial})


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, BadArguments),
        ({"query": 7}, BadArguments),
        ({"query": {}, "limit": 1}, BadArguments),
        ({"query": {"status": {"$grater": 1}}}, BadQuery),
        ({"query": {"$or": 7}}, BadQuery),
    ],
)
def test_an_invalid_read_raises_an_error_that_says_why(
    witness: Witness, reader: str, arguments: dict[str, object], kind: type[TrackError]
) -> None:
    with joined(reader) as rude, pytest.raises(TrackError) as caught:
        rude.read("fetch_trials", **arguments)
    assert type(caught.value) is kind
    witness.check_continues()


def test_a_reader_that_writes_is_refused_either_way(witness: Witness, reader: str) -> None:
    with joined(reader) as rude:
        with pytest.raises(PermissionDenied):
            rude.call("new_project", project={"uid": "p"})
        with pytest.raises(PermissionDenied):
            rude.log(points(witness.trial, loss=[666.0]))
        witness.check_continues()
        assert rude.read("fetch_projects", query={}) == []


def test_records_that_cannot_be_stored_are_rejected_one_by_one(witness: Witness, writer: str) -> None:
    with joined(writer) as rude:
        acked = rude.log(
            CallOp(0, "new_trial", {}),
            CallOp(1, "add_trial_tags", {"trial": witness.trial, "tags": []}),
            CallOp(2, "add_trial_tags", {"trial": b"\0" * 16, "tags": {}}),
        )
        assert [rejected.code for rejected in acked.rejected] == [
            "unknown-method",
            "bad-arguments",
            "not-found",
        ]
    witness.check_continues()


def test_records_out_of_order_are_refused(witness: Witness, writer: str) -> None:
    with joined(writer) as rude:
        rude.seq = 41
        with pytest.raises(SequenceGap, match="42 came where 1 was expected"):
            rude.log(points(witness.trial, loss=[666.0]))
    witness.check_continues()


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind", "code"),
    [
        ("nonsense://host", UnknownScheme, 2),
        ("socket://", UriError, 2),
        ("socket://host:port", UriError, 2),
        ("socket://host?pim=x", UriError, 2),
        ("sqlite:", UriError, 2),
        ("sqlite:runs.db?x=1", UriError, 2),
    ],
)
def test_an_invalid_address_is_refused_at_once(uri: str, kind: type[TrackError], code: int) -> None:
    with pytest.raises(kind) as caught:
        TrackClient(uri)
    assert caught.value.exit_code == code


def test_an_address_without_a_server_is_unreachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerUnreachable) as caught:
        Joined(f"socket://ann:{new_token()}@127.0.0.1:{port}")
    assert caught.value.exit_code == 5
