from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramMechanism

from track_protocol.errors import AuthenticationError
from track_protocol.security.scram import (
    PASSWORD_ITERATIONS,
    TOKEN_ITERATIONS,
    ClientExchange,
    ServerExchange,
    Verifier,
    iterations_for,
    make_verifier,
    mechanism_for,
)
from track_protocol.security.tokens import Secret, new_token

TOKEN = new_token()
VERIFIER = make_verifier(TOKEN)
BINDING = b"\x01" * 32
MOCK_SECRET = b"\x02" * 32


def server(binding: bytes | None = BINDING) -> ServerExchange:
    return ServerExchange(binding)


def challenged(to: ServerExchange, first: str, mock_secret: bytes = MOCK_SECRET) -> str:
    """The challenge of a server that knows ann only."""
    return to.challenge(VERIFIER if to.identify(first) == "ann" else None, mock_secret)


def log_in(
    client: ClientExchange, to: ServerExchange, *, change_final: Callable[[str], str] = lambda text: text
) -> None:
    client.verify(to.conclude(change_final(client.final(challenged(to, client.first())))))


def salt_and_iterations(name: str, mock_secret: bytes = MOCK_SECRET) -> tuple[str, str]:
    challenge = challenged(server(None), ClientExchange(name, TOKEN, None).first(), mock_secret)
    match = re.fullmatch(r"r=[^,]+,s=([^,]+),i=(\d+)", challenge)
    assert match is not None
    return match[1], match[2]


def why_refused(name: str, secret: str) -> str:
    with pytest.raises(AuthenticationError) as refused:
        log_in(ClientExchange(name, secret, BINDING), server())
    return str(refused.value)


# --- known vectors -----------------------------------------------------------------------------

RFC_7677 = [
    "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
]
RFC_5802 = [
    "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
]


def test_the_client_sends_the_messages_of_rfc_7677() -> None:
    client = ClientExchange("user", "pencil", None, nonce="rOprNGfwEbeRWgbNEkqO")
    assert client.first() == RFC_7677[0]
    assert client.final(RFC_7677[1]) == RFC_7677[2]
    client.verify(RFC_7677[3])


def test_the_server_sends_the_messages_of_rfc_7677() -> None:
    salt, stored, key, count = ScramMechanism("SCRAM-SHA-256").make_auth_info(
        "pencil", 4096, base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    )
    verifier = Verifier(salt, count, stored, key)
    exchange = ServerExchange(None, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert exchange.identify(RFC_7677[0]) == "user"
    assert exchange.challenge(verifier, MOCK_SECRET) == RFC_7677[1]
    assert exchange.conclude(RFC_7677[2]) == RFC_7677[3]


def test_the_scramp_package_sends_the_messages_of_rfc_5802() -> None:
    client = ScramClient(["SCRAM-SHA-1"], "user", "pencil", c_nonce="fyko+d2lbbFgONRv9qkxdawL")
    mechanism = ScramMechanism("SCRAM-SHA-1")
    keys = mechanism.make_auth_info("pencil", 4096, base64.b64decode("QSXCR+Q6sek8bf92"))
    peer = mechanism.make_server(lambda name: keys, s_nonce="3rfcNHYJY1ZVvWVs7j")
    said = [client.get_client_first()]
    peer.set_client_first(said[0])
    said.append(peer.get_server_first())
    client.set_server_first(said[1])
    said.append(client.get_client_final())
    peer.set_client_final(said[2])
    said.append(peer.get_server_final())
    assert said == RFC_5802


# --- who gets in -------------------------------------------------------------------------------


@pytest.mark.parametrize("binding", [BINDING, None])
def test_a_user_gets_in_with_the_right_token(binding: bytes | None) -> None:
    log_in(ClientExchange("ann", Secret(TOKEN), binding), server(binding))


def test_a_user_gets_in_with_a_password_a_person_chose() -> None:
    verifier = make_verifier("correct horse", iterations=TOKEN_ITERATIONS)
    client, exchange = ClientExchange("ann", "correct horse", BINDING), server()
    assert exchange.identify(client.first()) == "ann"
    client.verify(exchange.conclude(client.final(exchange.challenge(verifier, MOCK_SECRET))))


def test_an_unknown_user_and_a_wrong_password_are_refused_with_one_text() -> None:
    assert why_refused("ann", new_token()) == why_refused("nobody", TOKEN)


def test_a_refused_proof_cannot_be_tried_again_in_the_same_exchange() -> None:
    exchange, right = server(), ClientExchange("ann", TOKEN, BINDING)
    proof = right.final(challenged(exchange, right.first()))
    with pytest.raises(AuthenticationError):
        exchange.conclude(proof[:-8] + "AAAAAAA=")
    with pytest.raises(AuthenticationError):
        exchange.conclude(proof)


def test_a_proof_without_a_challenge_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        server().conclude("c=biws,r=abc,p=AAAA")


@pytest.mark.parametrize("change", [lambda text: "", lambda text: text[:-4], lambda text: text + ",x=y\x00"])
def test_a_malformed_proof_is_refused_like_a_wrong_one(change: Callable[[str], str]) -> None:
    with pytest.raises(AuthenticationError) as refused:
        log_in(ClientExchange("ann", TOKEN, BINDING), server(), change_final=change)
    assert str(refused.value) == why_refused("nobody", TOKEN)


def test_a_proof_for_another_session_is_refused() -> None:
    client, first = ClientExchange("ann", TOKEN, BINDING), server()
    proof = client.final(challenged(first, client.first()))
    second = server()
    challenged(second, ClientExchange("ann", TOKEN, BINDING).first())
    with pytest.raises(AuthenticationError):
        second.conclude(proof)


# --- the channel binding -----------------------------------------------------------------------


def test_the_mechanism_follows_from_the_binding() -> None:
    assert mechanism_for(BINDING) == "SCRAM-SHA-256-PLUS"
    assert mechanism_for(None) == "SCRAM-SHA-256"


def test_a_bound_login_names_the_end_point_binding_and_never_tls_unique() -> None:
    assert ClientExchange("ann", TOKEN, BINDING).first().startswith("p=tls-server-end-point,,")


def test_a_login_relayed_through_another_certificate_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="TLS certificate"):
        log_in(ClientExchange("ann", TOKEN, b"\x09" * 32), server())


def test_a_wrong_binding_does_not_reveal_whether_the_user_exists() -> None:
    texts = set()
    for name in ("ann", "nobody"):
        with pytest.raises(AuthenticationError) as refused:
            log_in(ClientExchange(name, TOKEN, b"\x09" * 32), server())
        texts.add(str(refused.value))
    assert len(texts) == 1


@pytest.mark.parametrize("flag", ["n", "y", "p=tls-unique"])
def test_inside_tls_a_login_without_the_end_point_binding_is_refused(flag: str) -> None:
    with pytest.raises(AuthenticationError):
        server().identify(f"{flag},,n=ann,r=abcdef")


def test_outside_tls_a_bound_login_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        server(None).identify(ClientExchange("ann", TOKEN, BINDING).first())


# --- unknown users -----------------------------------------------------------------------------


def test_an_unknown_user_gets_the_same_challenge_each_time() -> None:
    assert salt_and_iterations("nobody") == salt_and_iterations("nobody")


def test_unknown_users_get_different_salts() -> None:
    assert salt_and_iterations("nobody")[0] != salt_and_iterations("somebody")[0]


def test_the_challenge_of_an_unknown_user_depends_on_the_servers_secret() -> None:
    assert salt_and_iterations("nobody")[0] != salt_and_iterations("nobody", b"\x03" * 32)[0]


def test_the_challenge_of_an_unknown_user_looks_like_that_of_a_user() -> None:
    salt, _ = salt_and_iterations("nobody")
    assert len(base64.b64decode(salt)) == len(VERIFIER.salt)


def test_most_unknown_users_seem_to_have_tokens_and_some_passwords() -> None:
    counts = [salt_and_iterations(f"user{number}")[1] for number in range(300)]
    assert set(counts) == {str(TOKEN_ITERATIONS), str(PASSWORD_ITERATIONS)}
    assert 10 <= counts.count(str(PASSWORD_ITERATIONS)) <= 80


def test_the_mock_is_derived_for_users_too_so_that_time_reveals_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derived: list[str] = []

    def counting(secret: bytes, username: str) -> Verifier:
        derived.append(username)
        return VERIFIER

    monkeypatch.setattr("track_protocol.security.scram._mock_verifier", counting)
    for name in ("ann", "nobody"):
        salt_and_iterations(name)
    assert derived == ["ann", "nobody"]


# --- what a client accepts ---------------------------------------------------------------------


def challenge_with(iterations: str) -> tuple[ClientExchange, str]:
    client = ClientExchange("ann", TOKEN, None, nonce="abc")
    client.first()
    return client, f"r=abcdef,s={base64.b64encode(bytes(16)).decode()},i={iterations}"


@pytest.mark.parametrize("iterations", ["1", "4095", "1000001", "9999999", "99999999999", "-1", "04096", "x"])
def test_a_client_refuses_an_unreasonable_number_of_iterations(iterations: str) -> None:
    client, challenge = challenge_with(iterations)
    with pytest.raises(AuthenticationError):
        client.final(challenge)


@pytest.mark.parametrize("iterations", ["4096", "1000000"])
def test_a_client_accepts_the_least_and_the_most_iterations(iterations: str) -> None:
    client, challenge = challenge_with(iterations)
    assert client.final(challenge).startswith("c=biws,r=abcdef,p=")


def test_a_client_refuses_a_challenge_with_another_nonce() -> None:
    client, challenge = challenge_with("4096")
    with pytest.raises(AuthenticationError, match="challenge"):
        client.final(challenge.replace("r=abc", "r=xyz"))


@pytest.mark.parametrize("answer", ["v=AAAA", "e=invalid-proof", "e=what", "", "v=%%%", "garbage"])
def test_a_client_refuses_a_server_that_cannot_prove_itself(answer: str) -> None:
    client = ClientExchange("ann", TOKEN, BINDING)
    client.final(challenged(server(), client.first()))
    with pytest.raises(AuthenticationError, match="could not prove"):
        client.verify(answer)


def test_a_client_that_skips_the_challenge_verifies_nothing() -> None:
    client = ClientExchange("ann", TOKEN, BINDING)
    client.first()
    with pytest.raises(AuthenticationError):
        client.verify("v=AAAA")


def test_a_challenge_that_no_utf8_can_carry_is_refused() -> None:
    client, challenge = challenge_with("4096")
    with pytest.raises(AuthenticationError):
        client.final(challenge + ",x=\ud800")


def test_a_greeting_that_no_utf8_can_carry_is_refused() -> None:
    exchange = server(None)
    challenge = challenged(exchange, "n,,n=ann,r=abc,x=\ud800")
    nonce = challenge.partition(",")[0]
    with pytest.raises(AuthenticationError):
        exchange.conclude(f"c=biws,{nonce},p=AAAA")


@given(st.text())
def test_any_garbage_from_a_server_is_an_authentication_error(text: str) -> None:
    client = ClientExchange("ann", TOKEN, None)
    client.first()
    with pytest.raises(AuthenticationError):
        client.final(text)


@given(st.text())
def test_any_garbage_from_a_client_is_an_authentication_error(text: str) -> None:
    with pytest.raises(AuthenticationError):
        server().identify(text)


@given(st.text())
def test_any_garbage_as_a_proof_is_an_authentication_error(text: str) -> None:
    exchange = server()
    challenged(exchange, ClientExchange("ann", TOKEN, BINDING).first())
    with pytest.raises(AuthenticationError):
        exchange.conclude(text)


@pytest.mark.parametrize("name", ["", "\x07", "\ud800"])
def test_an_invalid_name_is_an_authentication_error(name: str) -> None:
    with pytest.raises(AuthenticationError, match="user name"):
        ClientExchange(name, TOKEN, None).first()


# --- verifiers ---------------------------------------------------------------------------------


def test_a_token_needs_few_iterations_and_a_password_many() -> None:
    assert iterations_for(TOKEN) == make_verifier(TOKEN).iterations == 4096
    assert iterations_for(Secret("correct horse")) == make_verifier("correct horse").iterations == 600_000


def test_two_verifiers_of_one_secret_share_nothing() -> None:
    first, second = make_verifier(TOKEN), make_verifier(TOKEN)
    assert first.salt != second.salt
    assert first.stored_key != second.stored_key


def test_a_verifier_survives_json() -> None:
    assert Verifier.from_json(json.loads(json.dumps(VERIFIER.to_json()))) == VERIFIER


@pytest.mark.parametrize(
    "change",
    [
        {"salt": None},
        {"salt": "%"},
        {"stored_key": 3},
        {"server_key": "A"},
        {"iterations": "4096"},
        {"iterations": 1},
        {"iterations": True},
    ],
)
def test_a_damaged_verifier_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller names the file
        Verifier.from_json(VERIFIER.to_json() | change)


def test_a_verifier_does_not_show_its_keys() -> None:
    assert "key" not in repr(VERIFIER)


def test_an_exchange_does_not_show_its_secret() -> None:
    client = ClientExchange("ann", TOKEN, BINDING)
    assert TOKEN not in repr(client)
    assert TOKEN not in client.first()
