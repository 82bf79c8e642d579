"""Keys and the certificates that they sign themselves."""

from __future__ import annotations

import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

__all__ = ["new_key", "self_signed"]

_VALID_FOR: Final = datetime.timedelta(days=20 * 365)
_CLOCK_SKEW: Final = datetime.timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new ECDSA P-256 key."""
    # Not Ed25519: RFC 5929 defines no end-point binding for a signature without a hash of its own.
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str, now: datetime.datetime
) -> bytes:
    """A certificate of 20 years that the key signs itself, as PEM.

    Args:
        key: the private key.
        name: the common name of both subject and issuer.
        now: the time, with its zone.
    """
    common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(common)
        .issuer_name(common)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
