from __future__ import annotations

import re
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from made_certificates import MadeCertificate, make_certificate
from tls_wire import SECONDS, needs_openssl, session, stock_server_context
from track.connection.channel import client_context
from track_protocol.errors import EncryptionMismatch, UsageError
from track_protocol.security.tls import check_negotiated


@pytest.fixture
def made() -> MadeCertificate:
    return make_certificate()


@pytest.fixture
def server(made: MadeCertificate, tmp_path: Path) -> ssl.SSLContext:
    certificate, key = made.write(tmp_path)
    context = stock_server_context(str(certificate), str(key))
    context.set_alpn_protocols(["track/1"])
    return context


def test_a_pinned_server_uses_tls_13_with_aes_256_gcm_whoever_signed_its_certificate(
    server: ssl.SSLContext, made: MadeCertificate
) -> None:
    with session(server, client_context()) as (_, client):
        check_negotiated(client)
        assert client.getpeercert(binary_form=True) == made.der


def test_a_server_that_knows_no_tls_13_is_refused(server: ssl.SSLContext) -> None:
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError), session(server, client_context()):
        pytest.fail("the handshake went through")


@pytest.mark.parametrize("alpn", [None, "h2"])
def test_a_server_of_another_protocol_is_refused(
    made: MadeCertificate, tmp_path: Path, alpn: str | None
) -> None:
    certificate, key = made.write(tmp_path)
    server = stock_server_context(str(certificate), str(key))
    if alpn:
        server.set_alpn_protocols([alpn])
    with (
        session(server, client_context()) as (_, client),
        pytest.raises(EncryptionMismatch, match="protocol"),
    ):
        check_negotiated(client)


def test_a_server_that_a_given_authority_signed_is_accepted(server: ssl.SSLContext, tmp_path: Path) -> None:
    with session(server, client_context(tmp_path / "own.crt")) as (_, client):
        check_negotiated(client)


def test_a_server_that_the_given_authority_did_not_sign_is_refused(
    server: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    authority, _ = make_certificate().write(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError), session(server, client_context(authority)):
        pytest.fail("the handshake went through")


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_an_authority_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"ca\.pem"):
        client_context(path)


@needs_openssl
def test_a_server_that_offers_only_aes_128_is_refused(made: MadeCertificate, tmp_path: Path) -> None:
    certificate, key = made.write(tmp_path)
    files = ["-cert", str(certificate), "-key", str(key)]
    suite = ["-ciphersuites", "TLS_AES_128_GCM_SHA256", "-alpn", "track/1"]
    peer = subprocess.Popen(
        ["openssl", "s_server", "-4", "-accept", "127.0.0.1:0", *files, *suite],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with peer:
        try:
            with (
                socket.create_connection(("127.0.0.1", _port_of(peer)), SECONDS) as plain,
                client_context().wrap_socket(plain, server_hostname="localhost") as client,
                pytest.raises(EncryptionMismatch, match="TLS_AES_128_GCM_SHA256"),
            ):
                check_negotiated(client)
        finally:
            peer.kill()


def _port_of(peer: subprocess.Popen[str]) -> int:
    assert peer.stdout is not None
    for line in peer.stdout:
        if match := re.match(r"ACCEPT .*:(\d+)$", line.strip()):
            return int(match[1])
    raise AssertionError("openssl did not say where it listens")
