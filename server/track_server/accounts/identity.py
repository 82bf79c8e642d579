"""The server's identity: its private key and certificate, made on the first start."""

from __future__ import annotations

import datetime
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from track_protocol.errors import EncryptionMismatch, StoreCorrupt, StoreError, UsageError
from track_protocol.security.tls import endpoint_binding, key_algorithm, pin_of_certificate
from track_server.accounts.private_files import home_folder, read_private, refuse_readable
from track_server.storage.durable_files import locked, replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

__all__ = ["Identity", "pin_of_file"]

_CERTIFICATE: Final = "identity.crt"
_KEYS: Final = ("ec", "rsa")
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate, the file of its private key, and what follows from them.

    Attributes:
        certificate_path: PEM file of the certificate, with the rest of its chain if it has one.
        key_path: PEM file of the private key.
        certificate_der: the certificate itself.
        pin: of its public key.
        binding: its ``tls-server-end-point`` data.
    """

    certificate_path: Path
    key_path: Path
    certificate_der: bytes
    pin: str
    binding: bytes

    @staticmethod
    def is_in(home: Path) -> bool:
        """Whether a server has made its identity in that folder."""
        return (home / _CERTIFICATE).exists()

    @classmethod
    def load_or_create(
        cls, home: Path, *, certificate: Path | None = None, key: Path | None = None
    ) -> Identity:
        """The identity in `home`, made there if there is none; or the given certificate and key.

        A new one is ECDSA P-256 with a self-signed certificate of 20 years.  Of several processes
        that start at once, one makes it and all use it.

        Args:
            home: the server's folder; made with mode 0700.
            certificate: PEM file to use instead of the one in `home`.
            key: PEM file of its private key.

        Raises:
            UsageError: only one of the two files is given, others may read the key, or the files
                do not belong together.
            StoreError: a file is missing or cannot be read.
            StoreCorrupt: a file is not what it should be.
            EncryptionMismatch: no channel binding is defined for the certificate.
        """
        if certificate is not None and key is not None:
            return _load(certificate, key)
        if certificate is not None or key is not None:
            raise UsageError("--certificate and --key belong together: give both, or neither")
        home_folder(home)
        certificate, key = home / _CERTIFICATE, home / "identity.key"
        with locked(home / "identity.lock"):
            _complete(certificate, key)
        return _load(certificate, key)


def pin_of_file(certificate: Path) -> str:
    """The pin of the certificate in a PEM file.

    Raises:
        StoreError: the file is missing or cannot be read.
        StoreCorrupt: it holds no certificate.
    """
    return pin_of_certificate(_certificate(certificate))


def _complete(certificate: Path, key: Path) -> None:
    """Make what is missing; a key without a certificate is what a crash in between left."""
    private = read_private(key)
    if private is None:
        if certificate.exists():
            raise StoreCorrupt(
                f"{key} is missing but {certificate} is there: put the key back, or remove the certificate "
                "to get a new identity, after which every user needs a new join URI"
            )
        private = _new_key()
        replace_file(key, [private])
    if not certificate.exists():
        # Rarely needed, and large.
        from track_protocol.security.selfsigned import self_signed

        now = datetime.datetime.now(datetime.UTC)
        replace_file(certificate, [self_signed(_private_key(key, private), "track", now)])


def _load(certificate_path: Path, key_path: Path) -> Identity:
    der = _certificate(certificate_path)
    try:
        with key_path.open("rb") as file:
            refuse_readable(key_path, os.fstat(file.fileno()), group_of_root=True)
            pem = file.read()
    except OSError as error:
        raise StoreError(f"the key {key_path} cannot be read: {error.strerror}") from error
    try:
        # OpenSSL checks that the two belong together; a passphrase would be asked for.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_path, key_path, lambda: "")
    except (ssl.SSLError, ValueError) as error:
        _private_key(key_path, pem)  # says what is wrong with the key itself
        raise UsageError(
            f"{key_path} is not the key of {certificate_path}: give the two files that belong together"
        ) from error
    if key_algorithm(der) not in _KEYS:
        raise UsageError(f"{key_path} is neither an ECDSA nor an RSA key: create one of these kinds")
    return Identity(certificate_path, key_path, der, pin_of_certificate(der), endpoint_binding(der))


def _certificate(path: Path) -> bytes:
    """The first certificate in a PEM file, DER encoded."""
    try:
        text = path.read_text("ascii", "replace")
    except OSError as error:
        raise StoreError(f"the certificate {path} cannot be read: {error.strerror}") from error
    _, begin, rest = text.partition(_BEGIN)
    block, end, _ = rest.partition(_END)
    try:
        der = ssl.PEM_cert_to_DER_cert(f"{begin}{block}{end}")
        pin_of_certificate(der)
    except (ValueError, EncryptionMismatch) as error:
        raise StoreCorrupt(f"{path} holds no certificate in PEM form") from error
    return der


def _private_key(path: Path, pem: bytes) -> EllipticCurvePrivateKey | RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise StoreCorrupt(f"{path} holds no private key in PEM form without a passphrase") from None
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        raise UsageError(f"{path} is neither an ECDSA nor an RSA key: create one of these kinds")
    return key


def _new_key() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from track_protocol.security.selfsigned import new_key

    return new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
