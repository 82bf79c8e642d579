"""TLS 1.3: the required properties of a session, the pinned key, and the channel binding of the login.

Identity is a key and not a name: a server makes its own key and signs its own certificate, and clients know
it by a pin (public key pinning as in RFC 7469, without HTTP).  A pin is ``sha256:`` and the base64url text,
without padding, of the SHA-256 of the certificate's SubjectPublicKeyInfo in DER: it outlives a renewed
certificate as long as the key stays.

The login is bound to the certificate by ``tls-server-end-point`` (RFC 5929 section 4).  For TLS 1.3 there is
also ``tls-exporter`` (RFC 9266), which binds it to the session itself, but Python's `ssl` cannot compute it.
The end point suffices here: a relay would need a certificate with the same bytes, and so the server's key.

Certificates are only read here, by a parser of ASN.1: what was agreed on and who holds the key is OpenSSL's
affair.  So a process that connects, or a server that has its key, loads no cryptographic library beside it
(10 MB and 40 ms); `track_protocol.security.selfsigned` does, where a key is made.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final, Protocol

from asn1crypto import x509

from track_protocol.errors import EncryptionMismatch, PinMismatch, UriError

__all__ = [
    "ALPN",
    "CIPHER",
    "JOIN_URI",
    "TLS_VERSION",
    "TlsSession",
    "check_negotiated",
    "check_pin",
    "endpoint_binding",
    "key_algorithm",
    "parse_pins",
    "pin_of_certificate",
]

ALPN: Final = "track/1"
CIPHER: Final = "TLS_AES_256_GCM_SHA384"
TLS_VERSION: Final = "TLSv1.3"

JOIN_URI: Final = "the join URI"

# 32 bytes are 43 letters of which the last carries four bits, so only sixteen letters can end a pin.
_PIN: Final = re.compile(r"sha256:[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_MAX_PINS: Final = 2
_REMEDY: Final = (
    "Ask the operator of the server for its pin (it prints it when it starts); if the new one is right, "
    "put it in place of the old one"
)

_HASHED: Final = ("rsassa_pkcs1v15", "rsassa_pss", "ecdsa", "dsa")
"""Kinds of signatures that have a hash of their own."""


# -- the session ---------------------------------------------------------------------------


class TlsSession(Protocol):
    """The part of `ssl.SSLSocket` and `ssl.SSLObject` that reports the result of the handshake."""

    def version(self) -> str | None: ...

    def cipher(self) -> tuple[str, str, int] | None: ...

    def selected_alpn_protocol(self) -> str | None: ...


def check_negotiated(session: TlsSession, alpn: str = ALPN) -> None:
    """Require TLS 1.3 with AES-256-GCM and the ALPN name of the protocol inside.

    Python cannot choose the suites of TLS 1.3, so the outcome is checked instead.

    Args:
        session: an `ssl.SSLSocket` or `ssl.SSLObject` whose handshake is done.
        alpn: the name; by default that of this protocol.

    Raises:
        EncryptionMismatch: anything else was agreed on.
    """
    cipher = session.cipher()
    wanted = {
        "version": (session.version(), TLS_VERSION, "allow TLS 1.3 on both sides"),
        "cipher": (cipher[0] if cipher else None, CIPHER, f"allow {CIPHER} first in OpenSSL's Ciphersuites"),
        "protocol": (
            session.selected_alpn_protocol(),
            alpn,
            "check that the peer is Track of the same version",
        ),
    }
    for what, (agreed, required, remedy) in wanted.items():
        if agreed != required:
            raise EncryptionMismatch(
                f"the TLS {what} agreed with the peer is {agreed or 'none'}, but {required} is required: "
                f"{remedy}"
            )


# -- the identity --------------------------------------------------------------------------


def pin_of_certificate(der: bytes) -> str:
    """The pin of the certificate's public key.

    Args:
        der: the certificate, DER encoded.

    Raises:
        EncryptionMismatch: `der` is not a certificate.
    """
    digest = hashlib.sha256(_load(der).public_key.dump()).digest()
    return "sha256:" + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def parse_pins(text: str) -> tuple[str, ...]:
    """One pin, or two separated by a comma while a key is being replaced.

    Raises:
        UriError: there are none, more than two, or one that cannot be a pin.
    """
    pins = tuple(text.split(","))
    if len(pins) > _MAX_PINS:
        raise UriError(f"pin={text}: {len(pins)} pins are given, but at most two may be, old and new")
    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise UriError(
                f"pin={text}: {pin!r} is not a pin; a pin is 'sha256:' and 43 characters of base64url, "
                "as the server prints it when it starts"
            )
    return pins


def check_pin(pins: Sequence[str], der: bytes, *, origin: str = JOIN_URI, remedy: str = _REMEDY) -> None:
    """Require that the certificate's key is one of the pinned ones.

    Args:
        pins: the accepted pins; an empty list accepts no key.
        der: the certificate that the server showed, DER encoded.
        origin: where the pins come from, for the message.
        remedy: how to accept an intended change, for the message.

    Raises:
        PinMismatch: it is another key.
    """
    shown = pin_of_certificate(der)
    if shown in pins:
        return
    expected = " or ".join(pins) or "no pin at all"
    raise PinMismatch(
        f"the server shows the key {shown}, but {origin} expects {expected}: it has a new identity, or "
        f"an attacker sits between you and it. No password or token was sent. {remedy}"
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
    algorithm = _load(der)["signature_algorithm"]
    try:
        name = algorithm.hash_algo if algorithm.signature_algo in _HASHED else None
    except ValueError:
        name = None
    if name is None or name not in hashlib.algorithms_guaranteed:
        raise EncryptionMismatch(
            "the server's certificate is signed in a way for which no channel binding is defined "
            "(Ed25519 is one): use one that is signed with ECDSA or RSA"
        )
    return hashlib.new("sha256" if name in ("md5", "sha1") else name, der).digest()


def key_algorithm(der: bytes) -> str:
    """The kind of a certificate's public key: ``ec``, ``rsa`` or another one.

    Raises:
        EncryptionMismatch: `der` is not a certificate.
    """
    return str(_load(der).public_key.algorithm)


def _load(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.Certificate.load(der, strict=True)
        certificate.native  # noqa: B018 - parsed only when it is looked at
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        raise EncryptionMismatch(
            "the server's certificate cannot be parsed: check that the address is that of a Track server"
        ) from None
    return certificate
