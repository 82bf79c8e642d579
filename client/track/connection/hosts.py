"""The hosts at which the servers of one store listen, and which of them to try next."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from track_protocol.errors import RPCCallFailure, ServerUnreachable, TrackError, UriError
from track_protocol.loopback import is_loopback

__all__ = ["Host", "Hosts", "hosts_of", "server_name", "share_of"]

_log: Final = logging.getLogger("track.connection")

_DEFAULT_PORT: Final = 8123
_MAX_HOSTS: Final = 16
_MIN_SHARE_S: Final = 2.0


class Host(NamedTuple):
    """A place where a server listens.

    Attributes:
        name: a name or an address, without brackets.
        port: 1 to 65535.
    """

    name: str
    port: int

    @property
    def shown(self) -> str:
        """Host and port, for messages."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it can only be this machine."""
        return is_loopback(self.name)


def hosts_of(places: Sequence[tuple[str, int | None]]) -> tuple[Host, ...]:
    """The hosts of a URI: a port after the last one only is the port of all.

    libpq, MongoDB and Lettuce give a host without a port their default port, whatever the other hosts have.
    So ``a,b:9000`` is port 5432 of ``a`` for libpq, which surprises most who write it.  Here a list of hosts
    has no port, one at its end or one for each host, and anything else is refused: nothing is guessed.

    Args:
        places: names and ports, as `Uri.hosts` has them.

    Raises:
        UriError: there are too many, one twice, or ports that can be meant in two ways.
    """
    if len(places) > _MAX_HOSTS:
        raise UriError(f"there are {len(places)} hosts, and at most {_MAX_HOSTS} may be: remove some")
    given = [port for _, port in places]
    if None in given and any(port is not None for port in given[:-1]):
        raise UriError(
            "some of the hosts have a port and some have none: write it after each host, or after the last "
            "one only, as the port of all"
        )
    for_all = _DEFAULT_PORT if given[-1] is None else given[-1]
    hosts = tuple(Host(name, for_all if port is None else port) for name, port in places)
    for number, host in enumerate(hosts):
        if host.port == 0:
            raise UriError(f"{host.shown}: no server listens on port 0: give another one")
        if host.name.lower() in {each.name.lower() for each in hosts[:number] if each.port == host.port}:
            raise UriError(f"{host.shown} is named twice: remove one")
    return hosts


def server_name(host: str, port: int) -> str:
    """A server's name in the client's files, the same for each spelling of the host.

    All names of the loopback interface are one: who reaches a server there by one, reaches it by the other.
    """
    name = host.lower().strip("[]")
    if is_loopback(name):
        return f"localhost:{port}"
    return Host(name, port).shown


def share_of(seconds: float, hosts: int, timeout: float) -> float:
    """How many seconds one host may take to let a client in.

    It is an equal share of what is left, so that one that is silent leaves time for the others; what those
    that refuse at once do not need, the others have.  A server under load that needs longer than its share
    of many would never let anyone in, so it is not less than 2 s where the timeout is not.

    Args:
        seconds: what is left of the timeout.
        hosts: how many have not been tried yet.
        timeout: of all.
    """
    return max(seconds / hosts, min(timeout, _MIN_SHARE_S))


class Hosts:
    """The order in which a client tries hosts.

    It is random, so that the clients of several servers spread over them, also when one of these is lost and
    all its clients move at once.  A client stays with a server until that is lost, with all its links.  Then
    it turns to those that have not failed, then to the one that it has lost, and last to those that did not
    let it in the last time, where an attempt may take as long as its timeout.

    Args:
        hosts: all of them.
    """

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._current: Host | None = None
        self._before: Host | None = None
        self._failures: dict[Host, tuple[bool, float]] = {}
        self._reported: set[tuple[Host, str]] = set()

    def in_turn(self) -> list[Host]:
        """All hosts, the next one to try first."""
        return sorted(self._hosts, key=self._rank)

    def _rank(self, host: Host) -> tuple[bool, bool, float, bytes]:
        # From the system's randomness: forked processes share every other state.
        return host != self._current, *self._failures.get(host, (False, 0.0)), os.urandom(8)

    def note_open(self, host: Host) -> None:
        """A server there has let this client in."""
        if self._before not in (None, host):
            _log.info("moved to %s, another host of the URI", host.shown)
        self._current = self._before = host
        self._failures.pop(host, None)

    def note_lost(self, host: Host) -> None:
        """A connection there has ended."""
        self._note(host, did_not_open=False)

    def note_failed(self, host: Host) -> None:
        """No connection could be opened there."""
        self._note(host, did_not_open=True)

    def _note(self, host: Host, *, did_not_open: bool) -> None:
        if self._current == host:
            self._current = None
        self._failures[host] = (did_not_open, time.monotonic())

    def report(self, host: Host, error: TrackError) -> None:
        """Warn, once, of an error that does not pass by itself, where another host serves instead."""
        if isinstance(error, ServerUnreachable | RPCCallFailure) or (host, str(error)) in self._reported:
            return
        self._reported.add((host, str(error)))
        _log.warning("%s is not used, but another host of the URI: %s", host.shown, error)

    def failure(self, errors: Mapping[Host, TrackError]) -> TrackError:
        """The error for a round in which no host could be used.

        If it may pass at one of them, it is an error that passes.

        Args:
            errors: why, by host.
        """
        if len(self._hosts) == 1:
            return errors[self._hosts[0]]
        # Not in the order of the attempts: a problem that stays has one message, which is reported once.
        reasons: dict[str, list[str]] = {}
        for host in self._hosts:
            reasons.setdefault(str(errors[host]), []).append(host.shown)
        told = "; ".join(f"{' and '.join(hosts)}: {reason}" for reason, hosts in reasons.items())
        message = f"none of the {len(self._hosts)} hosts can be used. {told}"
        if any(isinstance(error, ServerUnreachable) for error in errors.values()):
            return ServerUnreachable(message)
        passing = next((error for error in errors.values() if isinstance(error, RPCCallFailure)), None)
        return type(passing or errors[self._hosts[0]])(message)
