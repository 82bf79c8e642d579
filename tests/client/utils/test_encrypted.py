"""Encrypted sockets."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from socket_programs import ECHO, SAY, start, user
from track.configuration import reset_configuration
from track.utils import listen_socket, open_socket
from track.utils.encrypted import EncryptedSocket, wrap_socket
from track.utils.identity import socket_identity
from track_protocol.errors import AuthenticationError, EncryptionMismatch, PinMismatch, UsageError
from track_protocol.security.selfsigned import new_key

Ends = tuple[EncryptedSocket, EncryptedSocket]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    reset_configuration()
    yield
    reset_configuration()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection: the one that opened it, and the one that accepted it."""
    with listen_socket("127.0.0.1", 0, "AES") as listening, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listening.accept)
        opened = open_socket("127.0.0.1", listening.getsockname()[1], "aes")
        connection, address = accepted.result()
        assert isinstance(opened, EncryptedSocket)
        assert isinstance(connection, EncryptedSocket)
        assert address == opened.getsockname()
        with opened, connection:
            yield opened, connection


@contextlib.contextmanager
def echo(env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program that listens, and its port."""
    with start(ECHO, env=env) as listening:
        try:
            assert listening.stdout is not None
            yield listening, listening.stdout.readline().strip()
        finally:
            listening.kill()


def said(port: str, env: dict[str, str]) -> tuple[str, str]:
    """What a program that connects prints, and its last error."""
    with start(SAY, port, env=env) as program:
        out, error = program.communicate(timeout=60)
    return out, error.strip().rpartition("\n")[2]


def test_two_programs_of_one_user_on_one_machine_connect_without_options(tmp_path: Path) -> None:
    env = user(tmp_path)
    with echo(env) as (_, port):
        assert said(port, env) == ("heard hello\n", "")


def test_another_user_is_refused_and_does_not_use_the_wrong_server(tmp_path: Path) -> None:
    one, other = user(tmp_path / "one"), user(tmp_path / "other")
    with echo(one) as (_, port):
        out, error = said(port, other)
        assert (out, "PinMismatch" in error) == ("", True), error
        # The listener has rejected that one, and continues.
        assert said(port, one)[0] == "heard hello\n"


def test_users_who_share_an_identity_accept_each_other(tmp_path: Path) -> None:
    one, other = user(tmp_path / "one"), user(tmp_path / "other")
    with echo(one) as (_, port):
        made = tmp_path / "one/.local/state/track/sockets/identity.pem"
        copied = shutil.copy2(made, tmp_path / "copied.pem")
        assert said(port, {**other, "TRACK_SOCKET_IDENTITY": str(copied)})[0] == "heard hello\n"


def identity_of(env: dict[str, str]) -> tuple[str, str]:
    """The certificate of a user, and the pin of its key."""
    program = "from track.utils.identity import socket_identity as i; print(i().pins[0]); print(i().trusted)"
    with start(program, env=env) as process:
        pin, _, certificate = process.communicate(timeout=60)[0].partition("\n")
    return certificate, pin


@pytest.mark.parametrize("by", ["TRACK_SOCKET_PEERS", "TRACK_SOCKET_PIN"])
def test_users_who_pin_each_other_accept_each_other(tmp_path: Path, by: str) -> None:
    one, other = user(tmp_path / "one"), user(tmp_path / "other")
    (tmp_path / "other.pem").write_text(identity_of(other)[0])
    certificate, pin = identity_of(one)
    (tmp_path / "one.pem").write_text(certificate)
    known = {"TRACK_SOCKET_PEERS": str(tmp_path / "one.pem"), "TRACK_SOCKET_PIN": pin}
    with echo({**one, "TRACK_SOCKET_PEERS": str(tmp_path / "other.pem")}) as (_, port):
        assert said(port, {**other, by: known[by]})[0] == "heard hello\n"


def test_a_client_that_knows_the_server_is_refused_if_the_server_does_not_know_it(tmp_path: Path) -> None:
    one, other = user(tmp_path / "one"), user(tmp_path / "other")
    with echo(one) as (_, port):
        out, error = said(port, {**other, "TRACK_SOCKET_PIN": identity_of(one)[1]})
    assert (out, "not accept" in error or "reset" in error) == ("", True), error


def test_a_certificate_without_its_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket_identity().path.read_text()
    stolen = tmp_path / "stolen.pem"
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    stolen.write_text(key + made[made.index("-----BEGIN CERT") :])
    stolen.chmod(0o600)
    monkeypatch.setenv("TRACK_SOCKET_IDENTITY", str(stolen))
    with socket.socket() as plain, pytest.raises(AuthenticationError, match="private key"):
        wrap_socket(plain)


def test_the_traffic_is_tls_13_with_aes_256_gcm(ends: Ends) -> None:
    assert {end.version() for end in ends} == {"TLSv1.3"}
    assert {(end.cipher() or ("",))[0] for end in ends} == {"TLS_AES_256_GCM_SHA384"}


def test_no_plain_text_crosses_the_network() -> None:
    secret = b"no one else may read this"
    with listen_socket("127.0.0.1", 0, "AES") as listening, ThreadPoolExecutor(2) as pool:
        here, there = socket.socketpair()
        with contextlib.ExitStack() as stack:
            for each in (here, there):
                stack.enter_context(each)
            seen: list[bytes] = []
            accepted = pool.submit(listening.accept)
            server = stack.enter_context(socket.create_connection(listening.getsockname()))
            client = pool.submit(wrap_socket, here, handshake=True)
            pump_until(there, server, seen, lambda: client.done() and accepted.done())
            with client.result() as one, accepted.result()[0] as other:
                one.sendall(secret)
                pump_until(there, server, seen, lambda: secret_arrived(seen))
                assert other.recv(1024) == secret
        assert secret not in b"".join(seen)


def secret_arrived(seen: list[bytes]) -> bool:
    # A TLS record of application data ends the list.
    return bool(seen) and seen[-1][:1] == b"\x17"


def pump_until(one: socket.socket, other: socket.socket, seen: list[bytes], done: Callable[[], bool]) -> None:
    """Forward what comes from either side, and record it."""
    for each in (one, other):
        each.settimeout(0.02)
    first = True
    while first or not done():
        for source, target in ((one, other), (other, one)):
            with contextlib.suppress(TimeoutError):
                data = source.recv(65536)
                seen.append(data)
                target.sendall(data)
                first = False


def test_bytes_go_both_ways_in_any_size(ends: Ends) -> None:
    opened, accepted = ends
    data = os.urandom(1_000_000)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(accepted.sendall, data)
        with opened.makefile("rb") as stream:
            assert stream.read(len(data)) == data
    assert opened.send(b"back") == 4
    assert accepted.recv(bufferize=100, context="any") == b"back"


def test_receiving_zero_bytes_returns_none(ends: Ends) -> None:
    opened, accepted = ends
    opened.sendall(b"question")
    assert [accepted.recv(0), accepted.recv(buffersize=0), accepted.recv(8)] == [b"", b"", b"question"]


def test_pending_reports_decrypted_bytes(ends: Ends) -> None:
    opened, accepted = ends
    opened.sendall(b"0123456789")
    assert accepted.recv(4) == b"0123"
    assert accepted.readsize() == 6
    assert accepted.recv(buffersize=100) == b"456789"
    assert accepted.readsize() == 0


def test_after_the_writing_has_ended_the_answer_can_be_read(ends: Ends) -> None:
    opened, accepted = ends
    opened.sendall(b"question")
    opened.shutdown(socket.SHUT_WR)
    assert (accepted.recv(100), accepted.recv(100)) == (b"question", b"")
    accepted.sendall(b"answer")
    assert opened.recv(100) == b"answer"


def test_a_socket_made_like_a_plain_one_connects_and_listens() -> None:
    with EncryptedSocket(socket.AF_INET, socket.SOCK_STREAM) as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        accepted = pool.submit(listening.accept)
        with EncryptedSocket() as client:
            client.connect(listening.getsockname())
            client.sendall(b"hello")
            with accepted.result()[0] as connection:
                assert connection.recv(10) == b"hello"


def test_a_connected_socket_is_for_wrap_socket() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(UsageError, match="wrap_socket"):
        EncryptedSocket(fileno=one.detach())


def test_a_wrapped_socket_makes_its_handshake_at_its_first_use() -> None:
    one, other = socket.socketpair()
    with (
        wrap_socket(one) as client,
        wrap_socket(other, server_side=True) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        assert client.version() is None
        heard = pool.submit(server.recv, 10)
        client.sendall(b"hello")
        assert (heard.result(), client.version()) == (b"hello", "TLSv1.3")


def test_the_first_byte_is_not_sent_to_a_server_that_is_not_known(tmp_path: Path) -> None:
    own = socket_identity()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "mallory"))
        mallory = socket_identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(mallory.path)
    context.set_alpn_protocols(["track-socket/1"])
    one, other = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, wrap_socket(one) as client:
        server = pool.submit(context.wrap_socket, other, server_side=True)
        with pytest.raises(PinMismatch, match=own.pins[0]):
            client.sendall(b"secret")
        client.close()
        with server.result() as heard:
            assert heard.recv(100) == b""


def test_a_peer_with_another_application_protocol_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(socket_identity().path)
    one, other = socket.socketpair()
    with ThreadPoolExecutor(1) as pool, wrap_socket(one) as client:
        server = pool.submit(context.wrap_socket, other, server_side=True)
        with pytest.raises(EncryptionMismatch, match="track-socket/1"):
            client.sendall(b"secret")
        client.close()
        with server.result() as heard:
            assert heard.recv(100) == b""


def test_a_peer_without_encryption_is_distinguished() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_socket, "127.0.0.1", listening.getsockname()[1], "AES")
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"220 welcome to another protocol\r\n")
            with pytest.raises(EncryptionMismatch, match="backend='AES'"):
                opened.result()


def test_a_plain_text_client_of_a_listener_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with listen_socket("127.0.0.1", 0, "AES") as listening, ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(listening.accept)
        address = listening.getsockname()
        with socket.create_connection(address) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while plain.recv(100):
                    pass
        with open_socket(address[0], address[1], "AES") as opened, accepted.result()[0]:
            assert "is not accepted" in caplog.text
            assert opened.getpeername() == address
