"""The certificate that browsers see: of the same key as the server's identity, with the names of the host.

The identity's own certificate has no names, since its clients know the key by its pin; a browser refuses it
even when it was trusted by hand.  This one has them, lasts 396 days, the most that browsers take, and is
made again at a start when it lacks a name or is about to end.  The key stays, and with it the pin."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from track_server.storage.durable_files import replace_file

__all__ = ["browser_context", "host_names", "named_certificate"]

_VALID_FOR: Final = datetime.timedelta(days=396)
_RENEW_BEFORE: Final = datetime.timedelta(days=30)
_CLOCK_SKEW: Final = datetime.timedelta(days=1)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def host_names(host: str) -> frozenset[str]:
    """The names and addresses by which this machine is reached, as far as it knows them itself.

    Args:
        host: where the service listens.
    """
    name = socket.gethostname()
    found = {*_LOOPBACK, name, socket.getfqdn(name)}
    try:
        found |= {str(each[4][0]) for each in socket.getaddrinfo(name, None)}
    except OSError:
        pass  # a host may not know its own name
    if host not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        found.add(host)
    return frozenset(each.partition("%")[0].lower() for each in found if each)


def browser_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for a listening socket of browsers.

    Args:
        certificate: PEM file of what is shown.
        key: PEM file of its private key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context


def named_certificate(path: Path, key_path: Path, names: Iterable[str]) -> Path:
    """The certificate in a file, made again if it is another key's, lacks a name or is about to end.

    Args:
        path: its PEM file.
        key_path: PEM file of the key.
        names: hosts and addresses.

    Raises:
        StoreReadOnly: the file cannot be written.
    """
    key = load_pem_private_key(key_path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)  # as `Identity` requires
    now = datetime.datetime.now(datetime.UTC)
    wanted = {_general_name(name) for name in names}
    if not _serves(path, key, wanted, now):
        replace_file(path, [_made(key, wanted, now)])
    return path


def _serves(
    path: Path,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    wanted: set[x509.GeneralName],
    now: datetime.datetime,
) -> bool:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = found.not_valid_before_utc <= now <= found.not_valid_after_utc - _RENEW_BEFORE
    return lasts and found.public_key() == key.public_key() and wanted <= set(names)


def _made(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    wanted: set[x509.GeneralName],
    now: datetime.datetime,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Track board")])
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now - _CLOCK_SKEW + _VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(sorted(wanted, key=str)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
