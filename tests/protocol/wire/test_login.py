"""The login's steps, without a connection: what each side says in each mechanism, and what it refuses."""

from __future__ import annotations

import pytest

from track_protocol.errors import AuthenticationError, LocalProtocolError, RemoteProtocolError
from track_protocol.security.tokens import Secret, new_token
from track_protocol.wire.events import ClientProved, PasswordReceived, VerifierNeeded
from track_protocol.wire.login import PASSWORD, ClientLogin, ServerLogin
from wire_samples import MOCK_SECRET, TOKEN, VERIFIER

BINDING = b"\x01" * 32


def client(name: str = "ann", token: str = TOKEN) -> ClientLogin:
    return ClientLogin(name, token, BINDING)


def logged_in(client: ClientLogin) -> str:
    """The name of who gets in at a server that knows ann only."""
    server = ServerLogin(BINDING)
    named = server.receive(client.begin(server.mechanism))
    assert isinstance(named, VerifierNeeded)
    challenge = server.challenge(VERIFIER if named.username == "ann" else None, MOCK_SECRET)
    proved = server.receive(client.respond(challenge))
    assert isinstance(proved, ClientProved)
    client.verify(server.proof)
    return proved.username


def test_the_right_token_gets_in() -> None:
    assert logged_in(client()) == "ann"


def test_a_wrong_token_and_an_unknown_user_are_refused_in_the_same_words() -> None:
    with pytest.raises(AuthenticationError) as wrong:
        logged_in(client(token=new_token()))
    with pytest.raises(AuthenticationError) as unknown:
        logged_in(client(name="eve"))
    assert str(wrong.value) == str(unknown.value)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "", "x" * 1000])
def test_a_weaker_mechanism_than_the_bound_one_is_refused(mechanism: str) -> None:
    with pytest.raises(AuthenticationError, match="not safe here") as refused:
        client().begin(mechanism)
    assert len(str(refused.value)) < 300


def test_the_password_is_sent_only_where_it_may_be() -> None:
    with pytest.raises(AuthenticationError, match="pin="):
        client().begin(PASSWORD)
    assert ClientLogin("ann", "horse", BINDING, may_reveal=True).begin(PASSWORD) == "ann\0horse"


def test_a_generated_token_is_never_sent() -> None:
    with pytest.raises(AuthenticationError, match="a generated token is never sent"):
        ClientLogin("ann", TOKEN, BINDING, may_reveal=True).begin(PASSWORD)


def test_a_secret_that_may_be_revealed_is_not_unless_the_server_asks_for_it() -> None:
    assert TOKEN not in ClientLogin("ann", TOKEN, BINDING, may_reveal=True).begin("SCRAM-SHA-256-PLUS")


def test_a_password_arrives_unchanged_and_is_not_in_the_repr() -> None:
    event = ServerLogin(BINDING, password=True).receive("ann\0sec\0ret")
    assert event == PasswordReceived("ann", Secret("sec\0ret"))
    assert "sec" not in repr(event)


def test_a_message_without_a_password_breaks_the_protocol() -> None:
    with pytest.raises(RemoteProtocolError):
        ServerLogin(BINDING, password=True).receive("ann")


def test_a_message_that_starts_no_login_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        ServerLogin(BINDING).receive("let me in")


def test_the_password_mechanism_has_no_challenge() -> None:
    server, asked = ServerLogin(BINDING, password=True), ClientLogin("ann", "horse", BINDING, may_reveal=True)
    server.receive(asked.begin(server.mechanism))
    with pytest.raises(LocalProtocolError):
        server.challenge(None, MOCK_SECRET)
    with pytest.raises(RemoteProtocolError):
        asked.respond("r=abc,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096")


def test_a_server_has_no_proof_before_it_has_the_clients() -> None:
    server = ServerLogin(BINDING)
    with pytest.raises(LocalProtocolError):
        server.proof  # noqa: B018 - reading it is what is refused
    server.receive(client().begin(server.mechanism))
    with pytest.raises(LocalProtocolError):
        server.proof  # noqa: B018 - reading it is what is refused


def test_a_login_does_not_show_its_secret() -> None:
    assert TOKEN not in repr(vars(client()))
