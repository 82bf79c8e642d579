"""The certificate that browsers see."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from track_protocol.security.tls import pin_of_certificate
from track_server.accounts.identity import Identity
from track_server.http import certificates
from track_server.http.certificates import browser_context, host_names, named_certificate

NAMES = frozenset({"localhost", "127.0.0.1", "::1", "board.example"})


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity.load_or_create(tmp_path / "home")


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "board.example"])
def test_who_trusts_it_by_hand_sees_no_warning(tmp_path: Path, identity: Identity, name: str) -> None:
    made = named_certificate(tmp_path / "board.crt", identity.key_path, NAMES)
    server, client = browser_context(made, identity.key_path), ssl.create_default_context(cafile=str(made))
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def answer() -> None:
            server.wrap_socket(ours, server_side=True).close()

        thread = threading.Thread(target=answer)
        thread.start()
        with client.wrap_socket(theirs, server_hostname=name) as encrypted:
            assert encrypted.version() == "TLSv1.3"
            shown = encrypted.getpeercert(binary_form=True)
        thread.join()
    assert shown is not None
    assert pin_of_certificate(shown) == identity.pin


def test_the_same_one_is_used_until_it_lacks_a_name(tmp_path: Path, identity: Identity) -> None:
    path = tmp_path / "board.crt"
    first = named_certificate(path, identity.key_path, NAMES).read_bytes()
    assert named_certificate(path, identity.key_path, NAMES).read_bytes() == first
    assert named_certificate(path, identity.key_path, NAMES - {"board.example"}).read_bytes() == first
    assert named_certificate(path, identity.key_path, NAMES | {"other.example"}).read_bytes() != first


def test_one_that_is_about_to_end_is_made_again(
    tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "board.crt"
    with monkeypatch.context() as short:
        short.setattr(certificates, "_VALID_FOR", datetime.timedelta(days=30))
        named_certificate(path, identity.key_path, NAMES)
    soon = loaded(path).not_valid_after_utc
    renewed = loaded(named_certificate(path, identity.key_path, NAMES))
    assert renewed.not_valid_after_utc > soon
    assert renewed.not_valid_after_utc - renewed.not_valid_before_utc <= datetime.timedelta(days=398)


@pytest.mark.parametrize("content", [b"", b"no certificate"])
def test_a_file_that_is_none_is_replaced(tmp_path: Path, identity: Identity, content: bytes) -> None:
    path = tmp_path / "board.crt"
    path.write_bytes(content)
    made = loaded(named_certificate(path, identity.key_path, NAMES))
    assert made.public_key() == loaded(identity.certificate_path).public_key()


def test_one_of_another_key_is_replaced(tmp_path: Path, identity: Identity) -> None:
    other = Identity.load_or_create(tmp_path / "other")
    path = named_certificate(tmp_path / "board.crt", other.key_path, NAMES)
    renewed = loaded(named_certificate(path, identity.key_path, NAMES))
    assert renewed.public_key() == loaded(identity.certificate_path).public_key()


def test_a_host_has_the_names_of_loopback_its_own_and_where_it_listens() -> None:
    found = host_names("192.0.2.7")
    assert {"localhost", "127.0.0.1", "::1", "192.0.2.7", socket.gethostname().lower()} <= found
    assert not {"", "0.0.0.0"} & host_names("0.0.0.0")  # noqa: S104 - nothing listens
