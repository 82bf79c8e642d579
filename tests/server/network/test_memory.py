"""Claims on memory: what fits is granted, what does not waits, and one user leaves room for the others."""

from __future__ import annotations

from track_server.network.memory import Claim, MemoryBudget


class Asked:
    """Claims with the order in which they were granted."""

    def __init__(self, limit: int) -> None:
        self.budget = MemoryBudget(limit)
        self.granted: list[str] = []

    def claim(self, user: str, nbytes: int, name: str = "") -> Claim:
        return self.budget.claim(user, nbytes, lambda: self.granted.append(name or user))


def test_what_fits_is_granted_at_once() -> None:
    asked = Asked(100)
    assert asked.claim("ann", 40).is_granted
    assert asked.claim("bob", 40).is_granted
    assert asked.budget.used == 80


def test_what_does_not_fit_waits_until_others_release() -> None:
    asked = Asked(100)
    first, _, third = asked.claim("ann", 50), asked.claim("bob", 50), asked.claim("eve", 30)
    assert not third.is_granted
    first.release()
    assert third.is_granted
    assert asked.granted == ["ann", "bob", "eve"]


def test_a_user_who_holds_half_waits_and_delays_no_other() -> None:
    asked = Asked(100)
    held, waiting = asked.claim("ann", 50), asked.claim("ann", 1, "ann again")
    assert asked.claim("bob", 50).is_granted
    assert not waiting.is_granted
    held.release()
    assert waiting.is_granted


def test_more_than_a_share_counts_as_one() -> None:
    asked = Asked(100)
    claim = asked.claim("ann", 10_000)
    assert claim.is_granted
    assert asked.budget.used == 50


def test_a_claim_that_turns_out_smaller_lets_others_in() -> None:
    asked = Asked(100)
    large, _ = asked.claim("ann", 50), asked.claim("bob", 50)
    waiting = asked.claim("eve", 20)
    large.resize(30)
    assert waiting.is_granted


def test_a_claim_that_is_released_while_it_waits_is_never_granted() -> None:
    asked = Asked(100)
    first, second = asked.claim("ann", 50), asked.claim("ann", 50, "second")
    second.release()
    first.release()
    assert asked.granted == ["ann"]
    assert asked.budget.used == 0


def test_releasing_twice_gives_back_once() -> None:
    asked = Asked(100)
    first, _ = asked.claim("ann", 40), asked.claim("bob", 40)
    first.release()
    first.release()
    assert asked.budget.used == 40
