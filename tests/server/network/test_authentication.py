"""The steps behind AUTH frames: SCRAM, and the function of a server's owner."""

from __future__ import annotations

import threading

import pytest

from track_protocol.errors import AuthenticationError, RemoteProtocolError
from track_protocol.security.scram import ClientExchange, ServerExchange, Verifier, make_verifier
from track_protocol.security.tokens import new_token
from track_protocol.wire.roles import Role
from track_server.network.authentication import Accepted, PasswordLogin, ScramLogin

TOKEN = new_token()
VERIFIER = make_verifier(TOKEN)


def scram(role: Role | None = Role.WRITER) -> ScramLogin:
    def lookup(name: str) -> Verifier | None:
        return VERIFIER if name == "ann" else None

    return ScramLogin(ServerExchange(lookup, None, b"\0" * 32), lambda name: role)


async def log_in(login: ScramLogin, name: str, token: str) -> Accepted:
    client = ClientExchange(name, token, None)
    challenge = await login.step(client.first())
    assert isinstance(challenge, str)
    accepted = await login.step(client.final(challenge))
    assert isinstance(accepted, Accepted)
    client.verify(accepted.proof)
    return accepted


async def test_a_proof_gives_the_users_role_and_the_servers_own_proof() -> None:
    accepted = await log_in(scram(Role.READER), "ann", TOKEN)
    assert (accepted.username, accepted.role) == ("ann", Role.READER)


async def test_a_wrong_token_and_an_unknown_user_are_refused_in_the_same_words() -> None:
    with pytest.raises(AuthenticationError) as wrong:
        await log_in(scram(), "ann", new_token())
    with pytest.raises(AuthenticationError) as unknown:
        await log_in(scram(), "eve", TOKEN)
    assert str(wrong.value) == str(unknown.value)


async def test_a_user_who_is_removed_during_the_login_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="removed"):
        await log_in(scram(None), "ann", TOKEN)


async def test_what_is_no_login_message_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        await scram().step("hello")


async def test_a_function_that_says_true_makes_a_writer() -> None:
    accepted = await PasswordLogin(lambda name, password: True).step("ann\0secret")
    assert accepted == Accepted("ann", Role.WRITER, "")


async def test_a_function_may_name_a_role() -> None:
    accepted = await PasswordLogin(lambda name, password: "reader").step("ann\0secret")
    assert isinstance(accepted, Accepted)
    assert accepted.role is Role.READER


async def test_a_coroutine_function_may_decide() -> None:
    async def decide(name: str, password: str) -> bool:
        return (name, password) == ("ann", "sec\0ret")

    assert isinstance(await PasswordLogin(decide).step("ann\0sec\0ret"), Accepted)
    with pytest.raises(AuthenticationError, match="not accepted"):
        await PasswordLogin(decide).step("ann\0other")


@pytest.mark.parametrize("verdict", [False, None, "", 0])
async def test_anything_false_refuses(verdict: object) -> None:
    with pytest.raises(AuthenticationError, match="not accepted"):
        await PasswordLogin(lambda name, password: verdict).step("ann\0secret")


async def test_a_function_that_takes_its_time_holds_nobody_up() -> None:
    threads: list[threading.Thread] = []

    def decide(name: str, password: str) -> bool:
        threads.append(threading.current_thread())
        return True

    await PasswordLogin(decide).step("ann\0secret")
    assert threads != [threading.current_thread()]


async def test_a_message_without_a_password_breaks_the_protocol() -> None:
    with pytest.raises(RemoteProtocolError):
        await PasswordLogin(lambda name, password: True).step("ann")
