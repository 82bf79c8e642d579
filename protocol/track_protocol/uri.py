"""Addresses of stores and servers: ``scheme:[//authority]path[?query][#fragment]`` (RFC 3986).

``authority`` is ``[userinfo@]host[:port]``, or has several hosts, ``[userinfo@]host[:port],host[:port]``.
Where people write more than the RFC allows, the reading is fixed:

- The last ``@`` before the first ``?`` or ``#`` ends the user's name and password, so a password may hold
  ``:``, ``@`` and ``/`` as they are; ``?``, ``#``, ``%`` and ``,`` in a password, and ``@`` in a path, are
  percent-encoded.
- The schemes of files have no host: ``file:a.json`` and ``file://a.json`` are ``a.json`` in the current
  folder, ``file:/a.json`` and ``file:///a.json`` are absolute.  They have no fragment: a ``#`` is part of the
  path.
- In a query ``+`` is a plus sign (pins hold it), and an option without ``=`` is ``true``.
- ``backend=`` holds a URI.  Written as it is (``backend=file:a.json``), it is taken as it is: to the next
  ``&``, or to the end when it has a query of its own.  Percent-encoded with its colon
  (``backend=file%3Aa.json%3Fstrict%3D1``), it may be anywhere.
- A scheme alone may leave out its colon: ``ephemeral``.
- ``multiplexer:`` is followed by URIs with ``;`` between them, each taken as it is: a ``;`` within one of
  them is percent-encoded, ``%3B``.

No message and no repr shows a password or a token.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from track_protocol.errors import UriError

__all__ = [
    "FILE_SCHEMES",
    "MULTIPLEXER",
    "Uri",
    "boolean",
    "check_options",
    "multiplexed",
    "parse_options",
    "redact",
    "scheme_of",
]

FILE_SCHEMES: Final = frozenset(("file", "pickle", "pickled", "sqlite"))

MULTIPLEXER: Final = "multiplexer"
"""The scheme of a URI that contains several."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*):")
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*")
_HOST_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[^\[\]:@/,\s]*)(?::([0-9]*))?")
_OPTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_SECRET: Final = re.compile(r"password|passwd|token|secret|api_?key", re.IGNORECASE)
_SECRET_OPTION: Final = re.compile(rf"({_SECRET.pattern})=[^&]*", re.IGNORECASE)
# Text in the place of a port that may be a password, in a text that is not a URI.
_NO_PORT: Final = re.compile(r"^((?:[^:/?#,]*(?::[0-9]*)?,)*[^:/?#,]*):(?![0-9]*(?:[,/?#]|$))[^?#]*")
_BEGIN: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+._-]*:)?(//)?")
_NESTED: Final = "backend"
_READ_BY_OTHERS: Final = frozenset(("objective",))
_HIDDEN: Final = "***"
_TRUE: Final = frozenset(("1", "true", "yes", "on"))
_FALSE: Final = frozenset(("0", "false", "no", "off"))


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Uri:
    """An address in parts, each percent-decoded.

    Attributes:
        scheme: lower case.
        hostname: of the first host, without the brackets of an IPv6 address; None without an authority.
        port: of the first host, 0 to 65535, None when not given.
        path: as in the URI; for the schemes of files, a path for `open`.
        username: None when not given.
        password: None when not given; may be empty.
        query: the options by name.
        fragment: the text after ``#``.
        more_hosts: names and ports of the hosts after the first.
    """

    scheme: str
    hostname: str | None = None
    port: int | None = None
    path: str = ""
    username: str | None = None
    password: str | None = None
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fragment: str = ""
    more_hosts: tuple[tuple[str, int | None], ...] = ()

    @property
    def hosts(self) -> tuple[tuple[str, int | None], ...]:
        """The names and ports of all hosts."""
        return () if self.hostname is None else ((self.hostname, self.port), *self.more_hosts)

    @staticmethod
    def parse(text: str) -> Uri:
        """The parts of a URI.

        Raises:
            UriError: it cannot be parsed; the message gives the position, without the password.
        """
        try:
            return _parse(text)
        except UriError as error:
            raise UriError(f"{redact(text)}: {error}") from None

    def to_text(self) -> str:
        """The URI, password included: `parse` of it gives the same parts."""
        path = quote(self.path, safe="/:,=~")
        if self.hostname is None and path.startswith("//"):
            path = "/%2F" + path[2:]  # or the path would be read as an authority
        text = f"{self.scheme}:{self._authority()}{path}"
        if self.query:
            text += "?" + "&".join(
                f"{name}={_option_text(name, value)}" for name, value in self.query.items()
            )
        return f"{text}#{quote(self.fragment, safe='')}" if self.fragment else text

    def __repr__(self) -> str:
        return f"Uri({redact(self.to_text())!r})"

    def _authority(self) -> str:
        if not self.hosts:
            return ""
        user = "" if self.username is None else quote(self.username, safe="")
        secret = "" if self.password is None else ":" + quote(self.password, safe="")
        at = "" if self.username is None and self.password is None else "@"
        return f"//{user}{secret}{at}{','.join(_host_text(name, port) for name, port in self.hosts)}"


def parse_options(options: str) -> dict[str, str]:
    """The options of a query, decoded.

    Args:
        options: ``a=1&b=2``, with or without a leading ``?``.

    Raises:
        UriError: an option has no name, or is given twice.
    """
    found: dict[str, str] = {}
    rest = options.removeprefix("?")
    while rest:
        raw = rest.partition("&")[0]
        name, value, rest = _first_option(rest)
        if not raw:
            continue
        if not _OPTION.fullmatch(name):
            raise UriError("an option has no name: write name=value, and '?' in a password as %3F")
        if "@" in raw and name != _NESTED:
            # Most likely the rest of a password, which must not pass for an option and be shown.
            raise UriError(
                "there is an '@' after a '?': write '?' in a password as %3F, '@' in an option as %40"
            )
        if name in found:
            raise UriError(f"option {name!r} is given twice: remove one")
        found[name] = value
    return found


def check_options(parsed: Uri, allowed: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The options of a URI, converted; those not given are left out.

    An option that another program reads from the URI of a store is left out, too: Oríon's storage finds the
    name of the metric to optimise in ``objective``.

    Args:
        parsed: the URI.
        allowed: the known options, each with a function of its text, which raises ValueError when it
            does not like it.

    Raises:
        UriError: an option is unknown or its value is refused.
    """
    return {
        name: _convert(parsed.scheme, name, value, allowed)
        for name, value in parsed.query.items()
        if name in allowed or name not in _READ_BY_OTHERS
    }


def boolean(text: str) -> bool:
    """Truth of an option: ``1 true yes on`` or ``0 false no off``.

    Raises:
        ValueError: it is something else.
    """
    given = text.lower()
    if given not in _TRUE | _FALSE:
        raise ValueError("give true or false")
    return given in _TRUE


def scheme_of(uri: str) -> str:
    """The scheme, whatever follows it.

    Raises:
        UriError: there is none.
    """
    try:
        return _split_scheme(uri)[0]
    except UriError as error:
        raise UriError(f"{redact(uri)}: {error}") from None


def multiplexed(uri: str) -> list[str]:
    """The URIs in a ``multiplexer:`` URI; empty for any other URI."""
    found = _SCHEME.match(uri)
    if found is None or found[1].lower() != MULTIPLEXER:
        return []
    return [part.strip() for part in uri[found.end() :].split(";") if part.strip()]


def redact(uri: str) -> str:
    """The URI with ``***`` for its password and its secret options, nested URIs included.

    Of a text that is no URI, everything that might be a password is hidden.
    """
    if parts := multiplexed(uri):
        return f"{MULTIPLEXER}:{';'.join(map(redact, parts))}"
    try:
        parsed = _parse(uri)
    except UriError:
        return _bluntly_redacted(uri)
    if parsed.hostname is None and parsed.scheme not in FILE_SCHEMES and "@" in parsed.path:
        return _bluntly_redacted(uri)  # the slashes were forgotten
    if parsed.password is None:
        return _without_secret_options(uri)
    before, _, after = uri.partition("//")
    head, query = _cut(after)
    userinfo, place = _split_userinfo(head)
    user = (userinfo or "").partition(":")[0]
    return _without_secret_options(f"{before}//{user}:{_HIDDEN}@{place}{query}")


def _parse(text: str) -> Uri:
    if _CONTROL.search(text) or text != text.strip():
        raise UriError("it has white space at an end, or a control character: remove it")
    scheme, rest = _split_scheme(text)
    if scheme in FILE_SCHEMES:
        path, _, query = rest.partition("?")
        return Uri(scheme, path=_decode(path.removeprefix("//")), query=parse_options(query))
    rest, has_fragment, fragment = rest.partition("#")
    head, query = _cut(rest)
    options = parse_options(query)
    if not head.startswith("//"):
        return Uri(scheme, path=_decode(head), query=options, fragment=_decode(fragment))
    if has_fragment and "@" in fragment:
        raise UriError("there is an '@' after a '#': write '#' in a password as %23, '@' elsewhere as %40")
    userinfo, place = _split_userinfo(head[2:])
    if "," in (userinfo or ""):
        # Most likely the login was written before each host: only the last one would count.
        raise UriError(
            "there is a ',' before the '@': write the login once, before the first host, and ',' in it as %2C"
        )
    place, slash, path = place.partition("/")
    (hostname, port), *more = _split_hosts(place)
    name, colon, password = (userinfo or "").partition(":")
    return Uri(
        scheme,
        hostname,
        port,
        _decode(slash + path),
        _decode(name) or None,
        _decode(password) if colon else None,
        options,
        _decode(fragment),
        tuple(more),
    )


def _split_scheme(text: str) -> tuple[str, str]:
    found = _SCHEME.match(text)
    if found:
        return found[1].lower(), text[found.end() :]
    if _BARE.fullmatch(text):
        return text.lower(), ""
    raise UriError(
        "there is no scheme: write for example file:NAME.json, sqlite:NAME.db or socket://HOST:PORT"
    )


def _cut(text: str) -> tuple[str, str]:
    """The part before the query, and the query with its question mark."""
    at = min((place for place in (text.find("?"), text.find("#")) if place >= 0), default=len(text))
    return text[:at], text[at:]


def _split_userinfo(text: str) -> tuple[str | None, str]:
    userinfo, at, place = text.rpartition("@")
    if not at:
        return None, text
    if "/" in userinfo and ":" not in userinfo.partition("/")[0]:
        # Only passwords may hold a slash: this one begins the path, and the '@' lies within that.
        place, slash, path = text.partition("/")
        user, at, place = place.rpartition("@")
        return (user if at else None), place + slash + path
    return userinfo, place


def _split_hosts(place: str) -> list[tuple[str, int | None]]:
    if re.search(r"\s", place):
        raise UriError("there is white space in a host: remove it, also beside a comma")
    hosts = [_split_host(host) for host in place.split(",")]
    if len(hosts) > 1 and not all(name for name, _ in hosts):
        raise UriError("a host is empty: write one before and after each comma, or remove the comma")
    return hosts


def _split_host(place: str) -> tuple[str, int | None]:
    found = _HOST_PORT.fullmatch(place)
    if not found:
        raise UriError(
            "host or port cannot be read: write HOST:PORT, and an IPv6 address in brackets, [::1]:PORT"
        )
    port = int(found[2]) if found[2] and len(found[2]) < 7 else None
    if found[2] and (port is None or port > 65_535):
        raise UriError("the port is not within 0 to 65535: give another one")
    return _decode(found[1].removeprefix("[").removesuffix("]")), port


def _host_text(name: str, port: int | None) -> str:
    host = f"[{name.replace('%', '%25')}]" if ":" in name else quote(name, safe="")
    return host if port is None else f"{host}:{port}"


def _decode(text: str) -> str:
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UriError("percent-encoded bytes are not UTF-8: encode them again") from None
    if "\0" in plain:
        raise UriError("it has a NUL character: remove it")
    return plain


def _first_option(text: str) -> tuple[str, str, str]:
    """Name and value of the first option, and the rest of the query."""
    raw, _, rest = text.partition("&")
    name, equals, value = raw.partition("=")
    name = _decode(name)
    if name == _NESTED and _SCHEME.match(value):
        return (name, text.partition("=")[2], "") if "?" in value else (name, value, rest)
    if name and not equals:
        return name, "true", rest
    return name, _decode(value), rest


def _option_text(name: str, value: str) -> str:
    return quote(value, safe="" if name == _NESTED else ":/,+=")


def _convert(scheme: str, name: str, value: str, allowed: Mapping[str, Callable[[str], Any]]) -> Any:
    if name not in allowed:
        raise UriError(f"{scheme}: option {name!r} is not known{_suggestion(name, allowed)}")
    try:
        return allowed[name](value)
    except ValueError as error:
        shown = _HIDDEN if _SECRET.search(name) else redact(value) if name == _NESTED else value
        raise UriError(f"{scheme}: option {name}={shown} is refused: {error}") from None


def _suggestion(name: str, allowed: Mapping[str, Any]) -> str:
    if not allowed:
        return ": it has no options"
    # Deferred: only needed for the message of a mistake.
    from difflib import get_close_matches

    close = get_close_matches(name, allowed, 1)
    meant = f", did you mean {close[0]!r}" if close else ""
    return f"{meant}; known are {', '.join(sorted(allowed))}"


def _without_secret_options(text: str) -> str:
    head, mark, query = text.partition("?")
    shown = []
    while query:
        raw = query.partition("&")[0]
        name, value, rest = _first_option(query)
        if name == _NESTED:
            raw = f"{_NESTED}={redact(value)}"
        elif _SECRET.search(name):
            raw = f"{name}={_HIDDEN}"
        shown.append(raw)
        query = rest
    return head + mark + "&".join(shown)


def _bluntly_redacted(text: str) -> str:
    text = _CONTROL.sub("?", text)
    after = _BEGIN.sub("", text, count=1)
    begin = text.removesuffix(after)
    slashes = begin.endswith("//")
    if "@" in after:
        user, _, place = after.rpartition("@")
        shown = user.partition(":")[0] if slashes else ""
        after = f"{shown}:{_HIDDEN}@{place}"
    elif slashes:
        after = _NO_PORT.sub(rf"\1:{_HIDDEN}", after)
    return _SECRET_OPTION.sub(rf"\1={_HIDDEN}", begin + after)
