"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as exchanges without I/O.

Inside TLS the mechanism is always the PLUS one, bound to the server's certificate by
``tls-server-end-point`` (RFC 5929), so that a login cannot be relayed through another
session.  Without a binding (plain text on loopback) it is SCRAM-SHA-256.

    client                              server
    first()            ── n=user ──▶    identify()
                       ◀── s, i ────    challenge()     salt and iterations, a mock for an unknown user
    final()            ── proof ───▶    conclude()      refuses, or proves that it knows the verifier
    verify()           ◀── proof ───
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from scramp import ScramClient, ScramException, ScramMechanism
from scramp.core import ScramServer

from track_protocol.errors import AuthenticationError
from track_protocol.security.tokens import Secret, is_generated

__all__ = [
    "PASSWORD_ITERATIONS",
    "TOKEN_ITERATIONS",
    "ClientExchange",
    "ServerExchange",
    "Verifier",
    "iterations_for",
    "make_verifier",
    "mechanism_for",
]

TOKEN_ITERATIONS: Final = 4096
PASSWORD_ITERATIONS: Final = 600_000

_MAX_ITERATIONS: Final = 1_000_000
_BINDING_TYPE: Final = "tls-server-end-point"
_SALT_BYTES: Final = 16
# A mock looks as if 32 of the 256 users of a server had chosen their passwords themselves.
_MOCK_PASSWORDS_OF_256: Final = 32

_REFUSED: Final = (
    "the user name or the password was not accepted: check both, or ask for a new join URI "
    "('track user remove NAME', then 'track user add NAME' on the server)"
)
_UNBOUND: Final = (
    "the login is bound to another TLS certificate than this server's: something between client and "
    "server ends the TLS session; connect to the server directly"
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """The stored form of a secret on a server: enough to check a proof of it, not to log in with (RFC 5802).

    Attributes:
        salt: random bytes, one value for each user.
        iterations: of PBKDF2.
        stored_key: SHA-256 of the client key.
        server_key: the key with which the server proves its own knowledge.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def matches(self, secret: Secret | str) -> bool:
        """Whether it was made from `secret`; takes as long as `make_verifier`."""
        with _refusing("the password cannot be used"):
            _, stored_key, _, _ = _mechanism(None).make_auth_info(
                Secret(secret).reveal(), iteration_count=self.iterations, salt=self.salt
            )
        return hmac.compare_digest(stored_key, self.stored_key)

    def to_json(self) -> dict[str, object]:
        """A dict that `json.dumps` takes; the bytes are base64."""
        return {
            "salt": _b64(self.salt),
            "iterations": self.iterations,
            "stored_key": _b64(self.stored_key),
            "server_key": _b64(self.server_key),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Verifier:
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is missing or does not have the form of `to_json`.
        """
        iterations = data.get("iterations")
        if type(iterations) is not int or not TOKEN_ITERATIONS <= iterations <= _MAX_ITERATIONS:
            raise ValueError(f"'iterations' is {iterations!r}")
        keys = {name: _unb64(name, data.get(name)) for name in ("salt", "stored_key", "server_key")}
        return cls(iterations=iterations, **keys)


def iterations_for(secret: Secret | str) -> int:
    """How many iterations a secret needs: few if it is 160 random bits, many if it can be guessed."""
    return TOKEN_ITERATIONS if is_generated(Secret(secret).reveal()) else PASSWORD_ITERATIONS


def mechanism_for(binding: bytes | None) -> str:
    """The name of the one mechanism that is used with or without a channel binding."""
    return "SCRAM-SHA-256" if binding is None else "SCRAM-SHA-256-PLUS"


def make_verifier(secret: Secret | str, *, iterations: int | None = None) -> Verifier:
    """Derive the stored form; takes about a third of a second for a chosen password.

    Args:
        secret: a generated token or a password.
        iterations: of PBKDF2; by default those of `iterations_for`.

    Raises:
        AuthenticationError: the secret contains characters that no password may have (RFC 4013).
    """
    count = iterations_for(secret) if iterations is None else iterations
    with _refusing("the password cannot be used"):
        salt, stored_key, server_key, _ = _mechanism(None).make_auth_info(
            Secret(secret).reveal(), iteration_count=count, salt=secrets.token_bytes(_SALT_BYTES)
        )
    return Verifier(salt, count, stored_key, server_key)


class ClientExchange:
    """The client's side of one login; call `first`, `final` and `verify` once each, in this order.

    Args:
        username: the user's name.
        secret: token or password; never leaves this object.
        binding: the ``tls-server-end-point`` data of the session, None outside TLS.
        nonce: only for known test vectors; random otherwise.

    Raises:
        AuthenticationError: name or secret contains characters that it must not.
    """

    def __init__(
        self, username: str, secret: Secret | str, binding: bytes | None, *, nonce: str | None = None
    ) -> None:
        with _refusing("the user name or password cannot be used"):
            self._scram = ScramClient(
                [mechanism_for(binding)],
                username,
                Secret(secret).reveal(),
                channel_binding=None if binding is None else (_BINDING_TYPE, binding),
                c_nonce=nonce,
            )

    def first(self) -> str:
        """The message that opens the login."""
        with _refusing("the login cannot be started"):
            return str(self._scram.get_client_first())

    def final(self, server_first: str) -> str:
        """The client's proof.

        Raises:
            AuthenticationError: the challenge is malformed, not for this login, or asks for fewer
                iterations than protect a password or more than an honest server asks for.
        """
        with _refusing("the server's login challenge cannot be accepted"):
            self._scram.set_server_first(server_first)
            count = int(self._scram.iterations)
            if not TOKEN_ITERATIONS <= count <= _MAX_ITERATIONS:
                raise AuthenticationError(
                    f"the server asks for {count} iterations of the password hash, but between "
                    f"{TOKEN_ITERATIONS} and {_MAX_ITERATIONS} are accepted: do not trust this server"
                )
            return str(self._scram.get_client_final())

    def verify(self, server_final: str) -> None:
        """Check the server's own proof.

        Raises:
            AuthenticationError: it does not know this user's verifier.
        """
        with _refusing(
            "the server could not prove that it knows this user, so it is not the one it claims to be"
        ):
            self._scram.set_server_final(server_final)


class ServerExchange:
    """The server's side of one login; call `identify`, `challenge` and `conclude` once each, in this order.

    Args:
        binding: the ``tls-server-end-point`` data of the server's certificate, None outside TLS.
        nonce: only for known test vectors; random otherwise.
    """

    def __init__(self, binding: bytes | None, *, nonce: str | None = None) -> None:
        self._binding = binding
        self._nonce = nonce
        self._client_first = ""
        self._username = ""
        self._scram: ScramServer | None = None

    def identify(self, client_first: str) -> str:
        """The user name that the client claims; not proved before `conclude`.

        Raises:
            AuthenticationError: the message is malformed, or is not bound to TLS as it must be.
        """
        named: list[str] = []

        def name_of(username: str) -> tuple[bytes, bytes, bytes, int]:
            named.append(username)
            return bytes(_SALT_BYTES), b"", b"", TOKEN_ITERATIONS

        # The package reads the name and wants the keys in one step.  The name is read here with keys that
        # nobody uses, so that the verifier may be looked up later, and slowly.
        with _refusing("the login cannot be started"):
            self._server(name_of).set_client_first(client_first)
        self._client_first = client_first
        self._username = named[0]
        return self._username

    def challenge(self, verifier: Verifier | None, mock_secret: bytes) -> str:
        """Salt and iterations of the user; for an unknown user, ones that look like real ones.

        Args:
            verifier: the user's, None for an unknown user.
            mock_secret: the key from which the challenges for unknown users are derived; at least 32
                bytes that only this server knows and that stay the same.
        """
        # The mock is made for every user, so that the time does not reveal which users exist.
        mock = _mock_verifier(mock_secret, self._username)
        found = verifier or mock
        keys = found.salt, found.stored_key, found.server_key, found.iterations
        self._scram = self._server(lambda _: keys)
        with _refusing("the login cannot be started"):
            self._scram.set_client_first(self._client_first)
            return str(self._scram.get_server_first())

    def conclude(self, client_final: str) -> str:
        """The server's own proof, given that the client's is right.

        Raises:
            AuthenticationError: it is not.  The text is the same for an unknown user and for a wrong
                password; a wrong channel binding, which depends on neither, has another one.
        """
        if self._scram is None:
            raise AuthenticationError(_REFUSED)
        try:
            self._scram.set_client_final(client_final)
            return str(self._scram.get_server_final())
        except ScramException as error:
            reason = error.server_error.value if error.server_error else ""
            unbound = reason == "channel-bindings-dont-match"
            raise AuthenticationError(_UNBOUND if unbound else _REFUSED) from None
        except ValueError:
            raise AuthenticationError(_REFUSED) from None

    def _server(self, keys_of: Callable[[str], tuple[bytes, bytes, bytes, int]]) -> ScramServer:
        binding = None if self._binding is None else (_BINDING_TYPE, self._binding)
        return _mechanism(self._binding).make_server(keys_of, channel_binding=binding, s_nonce=self._nonce)


def _mock_verifier(secret: bytes, username: str) -> Verifier:
    def derived(purpose: str) -> bytes:
        return hmac.digest(secret, f"{purpose}\0{username}".encode(), hashlib.sha256)

    has_password = derived("iterations")[0] < _MOCK_PASSWORDS_OF_256
    return Verifier(
        salt=derived("salt")[:_SALT_BYTES],
        iterations=PASSWORD_ITERATIONS if has_password else TOKEN_ITERATIONS,
        stored_key=derived("stored key"),
        server_key=derived("server key"),
    )


def _mechanism(binding: bytes | None) -> ScramMechanism:
    return ScramMechanism(mechanism_for(binding))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    try:
        yield
    except ScramException as error:
        raise AuthenticationError(f"{what}: {error.args[0]}") from None
    except ValueError:
        raise AuthenticationError(f"{what}: it contains characters that are not allowed") from None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unb64(name: str, text: object) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"'{name}' is not text")
    return base64.b64decode(text, validate=True)
