"""Pins of a server's public key, and what SCRAM is bound to.

A pin is ``sha256:`` and the base64url text, without padding, of the SHA-256 of the certificate's
SubjectPublicKeyInfo in DER: it outlives a renewed certificate as long as the key stays.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from track_protocol.errors import EncryptionMismatch, PinMismatch, UriError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["JOIN_URI", "check_pin", "endpoint_binding", "parse_pins", "pin_of_certificate"]

JOIN_URI: Final = "the join URI"

# 32 bytes are 43 letters of which the last carries four bits, so only sixteen letters can end a pin.
_PIN: Final = re.compile(r"sha256:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_MOST_PINS: Final = 2
_REMEDY: Final = (
    "Ask whoever runs the server for its pin (it prints it when it starts); if the new one is right, "
    "put it in place of the old one"
)


def pin_of_certificate(der: bytes) -> str:
    """The pin of the certificate's public key.

    Args:
        der: the certificate, DER encoded.

    Raises:
        EncryptionMismatch: `der` is not a certificate.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _load(der).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(key).digest()
    return "sha256:" + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def parse_pins(text: str) -> tuple[str, ...]:
    """One pin, or two separated by a comma while a key is being replaced.

    Raises:
        UriError: there are none, more than two, or one that cannot be a pin.
    """
    pins = tuple(text.split(","))
    if len(pins) > _MOST_PINS:
        raise UriError(f"pin={text}: {len(pins)} pins are given, but at most two may be, old and new")
    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise UriError(
                f"pin={text}: {pin!r} is not a pin; a pin is 'sha256:' and 43 letters of base64url, "
                "as the server prints it when it starts"
            )
    return pins


def check_pin(pins: Sequence[str], der: bytes, *, origin: str = JOIN_URI, remedy: str = _REMEDY) -> None:
    """Require that the certificate's key is one of the pinned ones.

    Args:
        pins: the accepted pins; with none of them nothing is accepted.
        der: the certificate that the server showed, DER encoded.
        origin: who says what to expect, for the message.
        remedy: what to do when the change is wanted, for the message.

    Raises:
        PinMismatch: it is another key.
    """
    shown = pin_of_certificate(der)
    if shown in pins:
        return
    expected = " or ".join(pins) or "no pin at all"
    raise PinMismatch(
        f"the server shows the key {shown}, but {origin} expects {expected}: it has a new identity, or "
        f"somebody sits between you and it. No password or token was sent. {remedy}"
    )


def endpoint_binding(der: bytes) -> bytes:
    """The ``tls-server-end-point`` channel binding of a certificate (RFC 5929, section 4.1).

    It is the hash of the whole certificate by the hash of its signature, where SHA-256 stands in
    for MD5 and SHA-1.

    Args:
        der: the certificate, DER encoded.

    Raises:
        EncryptionMismatch: the certificate's signature has no hash of its own, like Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm

    certificate = _load(der)
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if algorithm is None:
        raise EncryptionMismatch(
            "the server's certificate is signed in a way for which no channel binding is defined "
            "(Ed25519 is one): use one that is signed with ECDSA or RSA"
        )
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, der).digest()


def _load(der: bytes) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise EncryptionMismatch("what the server showed is not a certificate that can be read") from None
