"""The server's side of TLS: version 1.3, its own certificate, no session tickets."""

from __future__ import annotations

import ssl

from track_protocol.security.tls import ALPN
from track_server.accounts.identity import Identity

__all__ = ["server_context"]


def server_context(identity: Identity) -> ssl.SSLContext:
    """A context for the listening socket.

    After each handshake `track_protocol.security.tls.check_negotiated` must be called before anything is
    read, because neither the cipher suite nor a missing ALPN name can be refused beforehand.

    Args:
        identity: the certificate and key to show.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # A resumed session would skip the certificate that the login is bound to.
    context.num_tickets = 0
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    return context
