"""What both ends require of a TLS session before the first byte of their own goes through it."""

from __future__ import annotations

from typing import Final, Protocol

from track_protocol.errors import EncryptionMismatch

__all__ = ["ALPN", "CIPHER", "TLS_VERSION", "TlsSession", "check_negotiated"]

ALPN: Final = "track/1"
CIPHER: Final = "TLS_AES_256_GCM_SHA384"
TLS_VERSION: Final = "TLSv1.3"


class TlsSession(Protocol):
    """The part of `ssl.SSLSocket` and `ssl.SSLObject` that tells what the handshake agreed on."""

    def version(self) -> str | None: ...

    def cipher(self) -> tuple[str, str, int] | None: ...

    def selected_alpn_protocol(self) -> str | None: ...


def check_negotiated(session: TlsSession, alpn: str = ALPN) -> None:
    """Require TLS 1.3 with AES-256-GCM and the ALPN name of what is spoken inside.

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
        "protocol": (session.selected_alpn_protocol(), alpn, "is the peer a Track of this version?"),
    }
    for what, (agreed, required, remedy) in wanted.items():
        if agreed != required:
            raise EncryptionMismatch(
                f"the TLS {what} agreed with the peer is {agreed or 'none'}, but {required} is required: "
                f"{remedy}"
            )
