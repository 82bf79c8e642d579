"""Which class makes the store of a URI, by its scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.process.crash import redact_crash_output
from track_protocol.errors import UnknownScheme
from track_protocol.security.tokens import redact_tokens
from track_protocol.uri import redact, scheme_of

__all__ = ["get_protocol", "register"]

_MAKERS: Final[dict[str, Callable[[str], Protocol]]] = {}


def register(name: str, proto: Callable[[str], Any]) -> None:
    """Add a backend of your own, or put it in the place of another.

    Args:
        name: the scheme of its URIs.
        proto: given the URI, makes the `Protocol`; usually the class itself.
    """
    _MAKERS[name.lower()] = proto


def get_protocol(backend_name: str) -> Protocol:
    """The store that a URI names.

    Raises:
        UriError: the URI cannot be understood, or holds an unknown option.
        UnknownScheme: no backend has its scheme.
        MissingExtra: the backend's packages are not installed.
    """
    if redact_tokens(backend_name) != backend_name:
        redact_crash_output()
    scheme = scheme_of(backend_name)
    maker = _MAKERS.get(scheme)
    if maker is not None:
        return maker(backend_name)
    # Deferred: a known scheme needs no search for installed packages.
    from track.persistence.embedded import EmbeddedProtocol, installed

    if scheme in installed():
        return EmbeddedProtocol(backend_name)
    known = ", ".join(sorted({*_MAKERS, *installed()}))
    raise UnknownScheme(
        f"{redact(backend_name)}: no backend has the scheme {scheme!r}; known are {known}, and "
        "track.persistence.register adds others"
    )
