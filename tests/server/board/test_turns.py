"""Turns of requests: of one user a few at once, and one visitor's flood leaves turns to his others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable

import pytest

from track_protocol.errors import TooBusy
from track_server.board.turns import Turns


async def settle() -> None:
    """Let all that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Requests:
    """Requests that go on until the test ends them."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._ends = asyncio.Semaphore(0)
        self.answered: list[Hashable] = []

    def ask(self, user: str, visitor: Hashable) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._ask(user, visitor))

    async def _ask(self, user: str, visitor: Hashable) -> None:
        async with self._turns.turn(user, visitor):
            self.answered.append(visitor)
            await self._ends.acquire()

    def end(self, count: int) -> None:
        for _ in range(count):
            self._ends.release()


async def test_of_one_user_four_are_answered_at_once_and_of_another_as_many() -> None:
    requests = Requests(Turns())
    asked = [requests.ask(user, f"{user}'s") for user in ("rita", "ann") for _ in range(6)]
    await settle()
    assert Counter(requests.answered) == {"rita's": 4, "ann's": 4}
    requests.end(12)
    await asyncio.gather(*asked)


async def test_visitors_of_one_user_take_turns_however_many_requests_one_of_them_makes() -> None:
    requests = Requests(Turns())
    flood = [requests.ask("rita", "script") for _ in range(60)]
    await settle()
    honest = [requests.ask("rita", "browser") for _ in range(6)]
    for _ in range(12):
        requests.end(1)
        await settle()
    # Of the turns that came since, every second one.
    assert Counter(requests.answered[4:]) == {"script": 6, "browser": 6}
    requests.end(54)
    await asyncio.gather(*flood, *honest)


async def test_who_lets_very_many_wait_is_told_so_and_others_are_not() -> None:
    requests = Requests(Turns())
    flood = [requests.ask("rita", "script") for _ in range(4 + 64)]
    await settle()
    with pytest.raises(TooBusy, match="send fewer at once"):
        await requests.ask("rita", "script")
    other = requests.ask("rita", "browser")
    requests.end(69)
    await asyncio.gather(*flood, other)
    assert requests.answered[5] == "browser"


async def test_a_request_that_is_given_up_leaves_its_turn_to_others() -> None:
    requests = Requests(Turns())
    running = [requests.ask("rita", "a") for _ in range(4)]
    await settle()
    waiting, given_up, last = (requests.ask("rita", visitor) for visitor in ("a", "b", "c"))
    await settle()
    given_up.cancel()
    await settle()
    requests.end(1)
    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()  # its turn has come by now
    requests.end(4)
    await asyncio.gather(*running, last)
    assert requests.answered.count("c") == 1
    assert "b" not in requests.answered


async def test_a_turn_that_comes_while_its_request_is_given_up_is_passed_on() -> None:
    turns = Turns()
    running = [turns.turn("rita", "a") for _ in range(4)]
    for each in running:
        await each.__aenter__()
    waiting = turns.turn("rita", "b")
    given_up = asyncio.ensure_future(waiting.__aenter__())
    await settle()
    await running[0].__aexit__(None, None, None)
    given_up.cancel()  # its turn was given to it, and it has not gone on yet
    await settle()
    assert given_up.cancelled()
    async with asyncio.timeout(30), turns.turn("rita", "c"):
        pass
    for each in running[1:]:
        await each.__aexit__(None, None, None)
