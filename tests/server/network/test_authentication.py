"""The documented hook: what the function of a server's owner may decide, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from track_protocol.errors import AuthenticationError
from track_protocol.security.tokens import Secret
from track_protocol.wire.roles import Role
from track_server.network.authentication import decided_role


async def decided(authenticate: Callable[[str, str], object], password: str = "secret") -> Role:
    return await decided_role(authenticate, "ann", Secret(password))


async def test_a_function_that_says_true_makes_a_writer() -> None:
    assert await decided(lambda name, password: True) is Role.WRITER


async def test_a_function_may_name_a_role() -> None:
    assert await decided(lambda name, password: "reader") is Role.READER


async def test_a_coroutine_function_may_decide() -> None:
    async def decide(name: str, password: str) -> bool:
        return (name, password) == ("ann", "sec\0ret")

    assert await decided(decide, "sec\0ret") is Role.WRITER
    with pytest.raises(AuthenticationError, match="not accepted"):
        await decided(decide, "other")


@pytest.mark.parametrize("verdict", [False, None, "", 0])
async def test_anything_false_refuses(verdict: object) -> None:
    with pytest.raises(AuthenticationError, match="not accepted"):
        await decided(lambda name, password: verdict)


async def test_a_slow_function_delays_no_other_login() -> None:
    threads: list[threading.Thread] = []

    def decide(name: str, password: str) -> bool:
        threads.append(threading.current_thread())
        return True

    await decided(decide)
    assert threads != [threading.current_thread()]
