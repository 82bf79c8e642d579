"""The client's side of TLS: version 1.3, trust by pin and by the login's channel binding."""

from __future__ import annotations

import ssl
from pathlib import Path

from track_protocol.errors import UsageError
from track_protocol.security.tls import ALPN, check_negotiated

__all__ = ["check_negotiated", "client_context"]


def client_context(cafile: Path | None = None) -> ssl.SSLContext:
    """A context for connecting to a server.

    By default the certificate is not looked up at an authority: the pin is compared before
    anything is sent, and the login proves that this very certificate's owner knows the user.
    After the handshake `check_negotiated` must be asked before anything is read or written.

    Args:
        cafile: PEM file of authorities; then the certificate must also be signed by one of them
            for the host that is connected to.

    Raises:
        UsageError: `cafile` cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    if cafile is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(cafile)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"{cafile} cannot be used as a file of certificate authorities: {error}") from error
    return context
