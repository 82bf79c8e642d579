from __future__ import annotations

import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tls_wire import SECONDS, listening, needs_openssl, session
from track_protocol.errors import EncryptionMismatch
from track_protocol.security.tls import check_negotiated
from track_server.accounts.identity import Identity
from track_server.network.tls import server_context


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.load_or_create(tmp_path)


def stock_client(alpn: str | None = "track/1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols([alpn])
    return context


def test_a_client_meets_tls_13_with_aes_256_gcm_and_the_servers_certificate(identity: Identity) -> None:
    with session(server_context(identity), stock_client()) as (server, client):
        check_negotiated(server)
        check_negotiated(client)
        assert client.getpeercert(binary_form=True) == identity.certificate_der


def test_a_client_that_knows_no_tls_13_is_refused(identity: Identity) -> None:
    client = stock_client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), session(server_context(identity), client):
        pytest.fail("the handshake went through")


@pytest.mark.parametrize("alpn", [None, "h2"])
def test_a_client_of_another_protocol_is_refused(identity: Identity, alpn: str | None) -> None:
    with (
        session(server_context(identity), stock_client(alpn)) as (server, _),
        pytest.raises(EncryptionMismatch, match="protocol"),
    ):
        check_negotiated(server)


def test_no_session_can_be_resumed(identity: Identity) -> None:
    with session(server_context(identity), stock_client()) as (server, client):
        server.sendall(b"x")
        assert client.recv(1) == b"x"  # a ticket would have come before it
        assert client.session is not None
        assert not client.session.has_ticket


def test_a_plain_text_client_is_refused(identity: Identity) -> None:
    with listening() as listener, ThreadPoolExecutor(1) as thread:
        refused = thread.submit(_handshake, listener, server_context(identity))
        with socket.create_connection(listener.getsockname(), SECONDS) as client:
            client.sendall(b"\x00\x00\x00\x10 plain text, surely no greeting of TLS")
            assert isinstance(refused.result(SECONDS), ssl.SSLError)


@needs_openssl
def test_a_client_that_offers_only_aes_128_is_refused(identity: Identity) -> None:
    with listening() as listener, ThreadPoolExecutor(1) as thread:
        agreed = thread.submit(_handshake, listener, server_context(identity))
        host, port = listener.getsockname()
        suite = ["-ciphersuites", "TLS_AES_128_GCM_SHA256", "-alpn", "track/1"]
        subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", *suite],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
        error = agreed.result(SECONDS)
    assert isinstance(error, EncryptionMismatch)
    assert "TLS_AES_128_GCM_SHA256" in str(error)


def _handshake(listener: socket.socket, context: ssl.SSLContext) -> Exception | None:
    """What a server does with its next client; gives the error that ends it."""
    plain, _ = listener.accept()
    plain.settimeout(SECONDS)
    with plain:
        try:
            with context.wrap_socket(plain, server_side=True) as encrypted:
                check_negotiated(encrypted)
        except (ssl.SSLError, EncryptionMismatch) as error:
            return error
    return None
