"""TLS: pins, the channel binding, what a session must have agreed on, and self-signed certificates."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from made_certificates import make_certificate
from track_protocol.errors import EncryptionMismatch, PinMismatch, UriError
from track_protocol.security.selfsigned import new_key, self_signed
from track_protocol.security.tls import (
    check_negotiated,
    check_pin,
    endpoint_binding,
    parse_pins,
    pin_of_certificate,
)

PIN = "sha256:" + "A" * 43
OTHER = "sha256:" + "b" * 42 + "A"

# Nothing signs with these hashes any more, so they were made once, by "openssl req -x509 -sha1" and "-md5".
SHA1_SIGNED = base64.b64decode(
    "MIIBajCCARKgAwIBAgIUFcLgX6O7HRBzC1DWlbk7blaPGMowCQYHKoZIzj0EATAMMQowCAYDVQQDDAF0MB4XDTI2MTEyMTAyNDgx"
    "MVoXDTQ2MTExNjAyNDgxMVowDDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNexUXObVCCcpgwYHsT+NmN8"
    "To3wEpqAxmpu+AMoTjZFe6EX+G4RawrP/BZB2YswuHgN/FJ7NPsQXAZyfsyiCX2jUzBRMB0GA1UdDgQWBBRTb6FZCk/0XnYLfMM3"
    "ACSP9eKgezAfBgNVHSMEGDAWgBRTb6FZCk/0XnYLfMM3ACSP9eKgezAPBgNVHRMBAf8EBTADAQH/MAkGByqGSM49BAEDRwAwRAIg"
    "WSEys20rCPc+C4qkwnwlurz644gmhQkNj7+oJfpd6xUCIHFSDYZfMEleeJa2q0dAXbg/jWkQyzt4p5do8owr+aIG"
)
MD5_SIGNED = base64.b64decode(
    "MIIB9DCCAV2gAwIBAgIUdQ6yK9sH+dkINPiv5upQxDPfa1wwDQYJKoZIhvcNAQEEBQAwDDEKMAgGA1UEAwwBdDAeFw0yNjExMjEw"
    "MjUxMjlaFw00NjExMTYwMjUxMjlaMAwxCjAIBgNVBAMMAXQwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBALa6WjXEKvaQGlYm"
    "wM5cfsV5o5UKsISsdwSG84bnCrP7saacSB4qoc/WrVEcl/sLJmisLwuKf1NKTQxQYrBp0UFjgl6Vspkkwh8fU3hTHHepKFonWvOL"
    "eDixisRV1Yl9ABz1t29KrgVpZeEF7SkbVpodQf/DiFt5gqxio1C8aUFJAgMBAAGjUzBRMB0GA1UdDgQWBBTqpReAI/jAPtxKHJHy"
    "MpEqpjbl7jAfBgNVHSMEGDAWgBTqpReAI/jAPtxKHJHyMpEqpjbl7jAPBgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBBAUAA4GB"
    "AHQkw7mSaENyRBeHc4vVUMUyIyeNoYSUlGLpNCwQQKulw9ydi5uO+yK0ukZyG6IibhxryRCMW4gwgdrLE1k1lOidrakNWW1krRMs"
    "wATw4DTfScv6SpiioKHhTuRHDA1NenZ9DzZkQsClc5JXiYXiWYg+AKxIxiKyBnGqjLqlam7N"
)


def test_a_pin_is_the_hash_of_the_public_key() -> None:
    made = make_certificate()
    key = made.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.urlsafe_b64encode(hashlib.sha256(key).digest()).decode()
    assert pin_of_certificate(made.der) == "sha256:" + digest.removesuffix("=")


def test_a_pin_outlives_a_renewed_certificate() -> None:
    first = make_certificate()
    renewed = make_certificate(first.key)
    assert renewed.der != first.der
    assert pin_of_certificate(renewed.der) == pin_of_certificate(first.der)


def test_invalid_certificate_bytes_have_no_pin() -> None:
    with pytest.raises(EncryptionMismatch, match="cannot be parsed"):
        pin_of_certificate(b"garbage")


def test_one_pin_is_read() -> None:
    assert parse_pins(PIN) == (PIN,)


def test_two_pins_are_read_for_a_rotation() -> None:
    assert parse_pins(f"{PIN},{OTHER}") == (PIN, OTHER)


def test_the_pin_of_a_certificate_is_read() -> None:
    pin = pin_of_certificate(make_certificate().der)
    assert parse_pins(pin) == (pin,)


def test_three_pins_are_refused() -> None:
    with pytest.raises(UriError, match="at most two"):
        parse_pins(",".join([PIN] * 3))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        PIN + ",",
        "A" * 43,
        "sha1:" + "A" * 43,
        PIN[:-1],
        PIN + "A",
        PIN[:-1] + "B",
        PIN[:-1] + "=",
        PIN + "\n",
    ],
)
def test_an_invalid_pin_is_refused(text: str) -> None:
    with pytest.raises(UriError, match="is not a pin"):
        parse_pins(text)


def test_the_pinned_key_is_accepted() -> None:
    der = make_certificate().der
    check_pin((pin_of_certificate(der),), der)


def test_either_of_two_pinned_keys_is_accepted() -> None:
    der = make_certificate().der
    check_pin((OTHER, pin_of_certificate(der)), der)


def test_another_key_is_refused_with_both_pins_and_the_remedy() -> None:
    der = make_certificate().der
    with pytest.raises(PinMismatch) as refused:
        check_pin((PIN,), der)
    message = str(refused.value)
    assert PIN in message
    assert pin_of_certificate(der) in message
    assert "Ask the operator of the server" in message


def test_no_pins_at_all_accept_nothing() -> None:
    with pytest.raises(PinMismatch):
        check_pin((), make_certificate().der)


def test_the_binding_is_the_certificates_hash_by_its_signatures_hash() -> None:
    der = make_certificate(hash_algorithm=hashes.SHA256()).der
    assert endpoint_binding(der) == hashlib.sha256(der).digest()
    der = make_certificate(hash_algorithm=hashes.SHA384()).der
    assert endpoint_binding(der) == hashlib.sha384(der).digest()


@pytest.mark.parametrize("der", [SHA1_SIGNED, MD5_SIGNED], ids=["sha1", "md5"])
def test_the_binding_uses_sha256_in_place_of_a_broken_hash(der: bytes) -> None:
    assert endpoint_binding(der) == hashlib.sha256(der).digest()


def test_a_signature_without_a_hash_has_no_binding() -> None:
    with pytest.raises(EncryptionMismatch, match="Ed25519"):
        endpoint_binding(make_certificate(ed25519.Ed25519PrivateKey.generate()).der)


@dataclass
class Agreed:
    """What a handshake could have led to."""

    tls: str | None = "TLSv1.3"
    suite: str | None = "TLS_AES_256_GCM_SHA384"
    alpn: str | None = "track/1"

    def version(self) -> str | None:
        return self.tls

    def cipher(self) -> tuple[str, str, int] | None:
        return (self.suite, "TLSv1.3", 256) if self.suite else None

    def selected_alpn_protocol(self) -> str | None:
        return self.alpn


def test_the_required_outcome_is_accepted() -> None:
    check_negotiated(Agreed())


@pytest.mark.parametrize(
    ("agreed", "named"),
    [
        (Agreed(tls="TLSv1.2"), "TLSv1.2"),
        (Agreed(tls=None), "none"),
        (Agreed(suite="TLS_AES_128_GCM_SHA256"), "TLS_AES_128_GCM_SHA256"),
        (Agreed(suite="TLS_CHACHA20_POLY1305_SHA256"), "CHACHA20"),
        (Agreed(suite=None), "none"),
        (Agreed(alpn=None), "none"),
        (Agreed(alpn="h2"), "h2"),
    ],
)
def test_any_other_outcome_is_refused_by_name(agreed: Agreed, named: str) -> None:
    with pytest.raises(EncryptionMismatch, match=named):
        check_negotiated(agreed)


def test_the_application_protocol_may_have_another_name() -> None:
    check_negotiated(Agreed(alpn="other/1"), "other/1")
    with pytest.raises(EncryptionMismatch, match="other/1"):
        check_negotiated(Agreed(), "other/1")


NOW = datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)


def test_a_certificate_shows_its_own_key_under_its_name_for_twenty_years() -> None:
    key = new_key()
    made = x509.load_pem_x509_certificate(self_signed(key, "somebody", NOW))
    made.verify_directly_issued_by(made)
    assert made.public_key() == key.public_key()
    assert made.subject.rfc4514_string() == "CN=somebody"
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc
    assert (made.not_valid_after_utc - NOW).days == 20 * 365
