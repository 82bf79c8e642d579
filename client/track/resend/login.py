"""With which login a left-over spool is sent, when its process and what that knew are gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from track.connection.address import SocketAddress
from track.connection.credentials import find_secret, local_credentials
from track.connection.link import SocketLink
from track.resend.replay import Destination
from track_protocol.errors import AuthenticationError, UsageError
from track_protocol.loopback import is_loopback
from track_protocol.uri import Uri
from track_protocol.wire.link import Link

__all__ = ["destination_at", "is_same_server", "public_address"]


def destination_at(uri: str, environment: Mapping[str, str]) -> Destination:
    """The server at an address, with a login for it.

    It is that of the URI, else ``TRACK_TOKEN`` or ``TRACK_TOKEN_FILE``, else that of ``TRACK_URI`` if it
    names the same server and user, else what the user's own server on this machine left.

    Args:
        uri: given by hand, or as a spool tells it: without the token.
        environment: as `os.environ` has it.

    Raises:
        UriError: it is none of a server.
        AuthenticationError: there is no login.
    """
    address, login = SocketAddress(uri), None
    secret = find_secret(address.password, environment)
    configured = _configured(address, environment)
    if secret is not None and address.username is not None:
        login = (address.username, secret.reveal())
    elif configured is not None:
        address, login = configured, configured.credentials()
    elif not _may_be_own(address, environment):
        user = "" if address.username is None else f" as {address.username}"
        raise AuthenticationError(
            f"there is no login for {address.shown}{user}: give the URI that 'track user add' printed, by "
            "--to or in TRACK_URI, or its token in TRACK_TOKEN or TRACK_TOKEN_FILE"
        )

    def open_link() -> Link:
        return SocketLink(address, lambda: login)

    return Destination(open_link, f"the server at {address.shown}", public_address(uri), address.timeout)


def public_address(uri: str) -> str:
    """A URI without the password in it."""
    return replace(Uri.parse(uri), password=None).to_text()


def is_same_server(recorded: str, uri: str) -> bool:
    """Whether a spool's address is that of a client: the same host and port, user, and key if both say."""
    try:
        one, other = SocketAddress(recorded), SocketAddress(uri)
    except UsageError:  # of a spool from elsewhere
        return False
    keys_differ = one.pins and other.pins and not set(one.pins) & set(other.pins)
    return _place(one) == _place(other) and one.username == other.username and not keys_differ


def _configured(address: SocketAddress, environment: Mapping[str, str]) -> SocketAddress | None:
    """What ``TRACK_URI`` says of this very server and user."""
    uri = environment.get("TRACK_URI", "")
    if not uri.startswith("socket:") or Uri.parse(uri).password is None:
        return None
    configured = SocketAddress(uri)
    same_user = address.username in (None, configured.username)
    return configured if same_user and _place(address) == _place(configured) else None


def _may_be_own(address: SocketAddress, environment: Mapping[str, str]) -> bool:
    """Whether the server is the user's own, which leaves them a login while it runs.

    Without a name it may be one that is away: the link tells that from somebody else's.
    """
    if not is_loopback(address.host):
        return False
    local = local_credentials(address.port, environment)
    return address.username is None or (local is not None and address.username == local.username)


def _place(address: SocketAddress) -> tuple[str, int]:
    return address.host.lower(), address.port
