"""The two sides of a login, without I/O: the content of each AUTH frame, and its effect.

SCRAM (RFC 5802) takes two messages of the client; the PASSWORD mechanism takes one and is for servers
that decide about passwords themselves.  The frames and their order are `track_protocol.wire.connection`'s.
"""

from __future__ import annotations

from typing import Final

from track_protocol.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError
from track_protocol.security.scram import ClientExchange, ServerExchange, Verifier, mechanism_for
from track_protocol.security.tokens import Secret, is_generated
from track_protocol.wire.events import ClientProved, PasswordReceived, VerifierNeeded

__all__ = ["PASSWORD", "ClientLogin", "ServerLogin"]

PASSWORD: Final = "PASSWORD"  # noqa: S105 - the mechanism's name
"""Mechanism in which the client sends user name and password inside TLS, for servers with an
authentication function of their own."""

_SHOWN_LETTERS: Final = 40


class ClientLogin:
    """Who logs in, and the secret that proves it.

    Args:
        username: the user's name.
        secret: token or password.
        binding: the ``tls-server-end-point`` data of the session (RFC 5929), None outside TLS.
        may_reveal: whether a password itself may be sent, because the user asks for that and the server's
            key is known beforehand; a generated token never is.

    Raises:
        AuthenticationError: name or secret contains characters that it must not.
    """

    def __init__(
        self, username: str, secret: Secret | str, binding: bytes | None, *, may_reveal: bool = False
    ) -> None:
        self._username = username
        self._secret = Secret(secret)
        self._binding = binding
        self._may_reveal = may_reveal and not is_generated(self._secret.reveal())
        self._exchange: ClientExchange | None = None

    def begin(self, mechanism: str) -> str:
        """The first message, in the mechanism that the server asks for.

        Raises:
            AuthenticationError: that mechanism protects the secret less than this login must.
        """
        if mechanism == PASSWORD and self._may_reveal:
            return f"{self._username}\0{self._secret.reveal()}"
        # Exactly one mechanism is accepted: a server, or a relay before it, cannot ask for a weaker
        # one.  RFC 5802 section 6 detects a downgrade by the GS2 flag "y", which needs two to choose from.
        if mechanism != mechanism_for(self._binding):
            raise AuthenticationError(_refused(mechanism))
        self._exchange = ClientExchange(self._username, self._secret, self._binding)
        return self._exchange.first()

    def respond(self, challenge: str) -> str:
        """The client's proof.

        Raises:
            AuthenticationError: the challenge cannot be accepted.
            RemoteProtocolError: this mechanism has no challenge.
        """
        if self._exchange is None:
            raise RemoteProtocolError(f"the mechanism {PASSWORD} has no challenge")
        return self._exchange.final(challenge)

    def verify(self, proof: str) -> None:
        """Check the server's own proof.

        Raises:
            AuthenticationError: it does not know this user's verifier.
        """
        if self._exchange is not None:
            self._exchange.verify(proof)


class ServerLogin:
    """How clients log in at this server.

    Args:
        binding: the ``tls-server-end-point`` data of the server's certificate, None outside TLS.
        password: ask for the password itself.

    Attributes:
        mechanism: the mechanism's name, for the greeting.
    """

    def __init__(self, binding: bytes | None, *, password: bool = False) -> None:
        self.mechanism = PASSWORD if password else mechanism_for(binding)
        self._exchange = None if password else ServerExchange(binding)
        self._username: str | None = None
        self._proof: str | None = None

    def receive(self, message: str) -> VerifierNeeded | PasswordReceived | ClientProved:
        """Process the client's next message.

        Raises:
            AuthenticationError: it is malformed, or its proof is wrong.
            RemoteProtocolError: it does not contain a user name and a password.
        """
        if self._exchange is None:
            username, separator, password = message.partition("\0")
            if not separator:
                raise RemoteProtocolError("a password login is user name, NUL, password")
            self._proof = ""
            return PasswordReceived(username, Secret(password))
        if self._username is None:
            self._username = self._exchange.identify(message)
            return VerifierNeeded(self._username)
        self._proof = self._exchange.conclude(message)
        return ClientProved(self._username)

    def challenge(self, verifier: Verifier | None, mock_secret: bytes) -> str:
        """The challenge for the user that the client named; see `ServerExchange.challenge`."""
        if self._exchange is None:
            raise LocalProtocolError(f"the mechanism {PASSWORD} has no challenge")
        return self._exchange.challenge(verifier, mock_secret)

    @property
    def proof(self) -> str:
        """The server's own proof, which the client checks.

        Raises:
            LocalProtocolError: the client has proved nothing yet.
        """
        if self._proof is None:
            raise LocalProtocolError("the client has not proved itself: READY cannot be sent yet")
        return self._proof


def _refused(mechanism: str) -> str:
    if mechanism == PASSWORD:
        return (
            "the server requests the password itself, which is only sent where the URI says so and the "
            "server's key is known: if the operator of the server confirms that, add login=password and "
            "pin=sha256:... to the URI; a generated token is never sent"
        )
    return (
        f"the server requires the login mechanism {mechanism[:_SHOWN_LETTERS]!r}, which is not safe "
        "here: update the older side, or ask the operator of the server"
    )
