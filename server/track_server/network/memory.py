"""One bound over the memory that peers can make the server hold.

What peers can pile up is charged here: pages of answers that they have not read, frames that have only
begun to come, and values of large frames while they are decoded and applied.  Whatever does not fit waits;
nothing is refused, since an honest peer would only repeat its request.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Claim", "MemoryBudget"]


class MemoryBudget:
    """Grants claims on memory while they fit; for one thread.

    One user may hold half of it, so a user who fills his share does not make others wait.

    Args:
        limit: bytes.

    Attributes:
        used: bytes that are granted.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._limit = limit
        self._share = limit // 2
        self._used_by: Counter[str] = Counter()
        self._waiting: deque[Claim] = deque()

    def claim(self, user: str, nbytes: int, granted: Callable[[], None]) -> Claim:
        """Request memory.

        Args:
            user: who requests it.
            nbytes: how much; more than a user may hold counts as that.
            granted: called once it is there: at once if it fits, or when others have released enough.
        """
        claim = Claim(self, user, min(nbytes, self._share), granted)
        self._waiting.append(claim)
        self._grant()
        return claim

    def _grant(self) -> None:
        # Granting may release or claim more, so the line is looked at anew each time.
        while (claim := next(filter(self._fits, self._waiting), None)) is not None:
            self._waiting.remove(claim)
            self._charge(claim, claim.nbytes)
            claim.is_granted = True
            claim.granted()

    def _fits(self, claim: Claim) -> bool:
        return (
            self.used + claim.nbytes <= self._limit
            and self._used_by[claim.user] + claim.nbytes <= self._share
        )

    def _charge(self, claim: Claim, nbytes: int) -> None:
        self.used += nbytes
        self._used_by[claim.user] += nbytes
        if not self._used_by[claim.user]:
            del self._used_by[claim.user]

    def _resize(self, claim: Claim, nbytes: int) -> None:
        if claim.is_granted:
            self._charge(claim, nbytes - claim.nbytes)
            claim.nbytes = nbytes
        elif claim in self._waiting:
            self._waiting.remove(claim)
        self._grant()


class Claim:
    """Memory that was requested.

    Attributes:
        user: who requested it.
        nbytes: how much.
        granted: called when it is granted.
        is_granted: whether it was.
    """

    def __init__(self, budget: MemoryBudget, user: str, nbytes: int, granted: Callable[[], None]) -> None:
        self._budget = budget
        self.user = user
        self.nbytes = nbytes
        self.granted = granted
        self.is_granted = False

    def resize(self, nbytes: int) -> None:
        """Hold another amount from now on, without waiting: it is there already."""
        self._budget._resize(self, nbytes)

    def release(self) -> None:
        """Give the memory back, or stop waiting for it; harmless when repeated."""
        self._budget._resize(self, 0)
