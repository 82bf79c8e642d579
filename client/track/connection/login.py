"""Which login is used for which server.

A secret belongs to a server.  One that is in a URI goes to that URI's server.  The token of the environment
goes to the server that ``TRACK_URI`` names; where that is not set, to the one that the program names.  A
login that ``track login`` has stored goes to the server with that host, port and key.

A URI with several hosts names servers of one store, which have one key and one login.  A secret is used for
it if each of the hosts is one that the secret belongs to, or has to show the key that it belongs to.

A ``track.config`` in the current folder or above it may have come with somebody else's repository.  Until the
user has trusted it (``track trust``), it contributes no token, and neither the environment's token nor a
stored login is used for the server that it names.  The login that the user's own server has left on this
machine is used whatever names it, because only that server has the key that goes with it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from track.configuration import Configuration, current_configuration
from track.connection.address import SocketAddress
from track.connection.credentials import StoredLogin, StoredLogins, find_secret
from track.connection.trust import KnownServers
from track.connection.trusted_files import TrustedFiles, why_untrusted
from track_protocol.errors import AuthenticationError, UriError, UsageError
from track_protocol.uri import multiplexed, scheme_of

__all__ = ["find_login"]

_log: Final = logging.getLogger("track.connection.login")


def find_login(address: SocketAddress, env: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """Name and secret for a server; None when nothing says anything.

    They are those of the URI, else the environment's token, else what ``TRACK_URI`` says of that server and
    user, else what ``track login`` has stored.

    Args:
        address: of the server.
        env: the environment; that of the process by default.

    Raises:
        AuthenticationError: a part of the login is missing, or what names the server is not trusted.
        UsageError: a file of the client's is damaged.
    """
    if address.password:
        return _complete(address, address.username, address.password)
    configuration = current_configuration()
    is_trusted = TrustedFiles().contains(configuration)
    variables: Mapping[str, str] = os.environ if env is None else env
    if is_trusted:
        variables = {**configuration.variables, **variables}
    chosen = list(_servers_in(variables))
    suggested = [] if is_trusted else list(_servers_in(configuration.variables))
    named = next((each for each in (*chosen, *suggested) if _is_of(each, address)), None)
    username = address.username or (named.username if named is not None else None)
    token = find_secret(variables)
    is_chosen = any(each.covers(address) for each in chosen)
    if token is not None and (is_chosen or not (chosen or suggested)):
        return _complete(address, username, token.reveal())
    is_suggested = not is_chosen and any(each.names & address.names for each in suggested)
    if is_suggested and configuration.fault:
        raise _untrusted(address, configuration)
    if named is not None and named.password:
        return _complete(address, username, named.password)
    stored = _stored(address)
    if is_suggested and (stored or token):
        raise _untrusted(address, configuration)
    if stored is not None:
        return stored.username, stored.token.reveal()
    return None if address.username is None else _complete(address, username, None)


def _untrusted(address: SocketAddress, configuration: Configuration) -> AuthenticationError:
    return AuthenticationError(
        f"no login is used for {address.shown}, which {configuration.path} names, because "
        f"{why_untrusted(configuration)}; or set TRACK_URI yourself"
    )


def _complete(address: SocketAddress, username: str | None, secret: str | None) -> tuple[str, str]:
    if username is not None and secret is not None:
        return username, secret
    missing = "a user name" if secret is not None else "a token"
    raise AuthenticationError(
        f"{address.shown}: the login lacks {missing}: run 'track login' with the URI that 'track user add' "
        "printed, or give TRACK_URI without the token, and the token in TRACK_TOKEN or in a file that "
        "TRACK_TOKEN_FILE names"
    )


def _servers_in(variables: Mapping[str, str]) -> Iterator[SocketAddress]:
    """The servers that ``TRACK_URI`` names."""
    uri = variables.get("TRACK_URI", "")
    for each in multiplexed(uri) or [uri]:
        try:
            if each and scheme_of(each) == "socket":
                yield SocketAddress(each)
        except UriError:  # opening it raises
            continue


def _is_of(configured: SocketAddress, address: SocketAddress) -> bool:
    """Whether a configured address is that of this server and user."""
    return configured.covers(address) and address.username in (None, configured.username)


def _stored(address: SocketAddress) -> StoredLogin | None:
    """The stored login, if the server that is expected there has the key that it was stored for."""
    try:
        login = StoredLogins().find(address.names, address.username)
        if login is None or login.pin in _expected_pins(address):
            return login
    except (AuthenticationError, UsageError) as error:
        _log.warning("no stored login is used for %s: %s", address.shown, error)
        return None
    _log.warning(
        "the stored login of %s for %s is not used, because another key is expected there: ask the operator "
        "of the server, then run 'track login' again",
        login.username,
        " and ".join(login.servers),
    )
    return None


def _expected_pins(address: SocketAddress) -> Collection[str]:
    if address.plaintext:
        return ("",)
    return address.pins or KnownServers().saved_pins(address.names).values()
