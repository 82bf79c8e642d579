"""One test of many small cases: hundreds of tests that take microseconds each cost a run a minute."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["every"]


def every(cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """Turn a function into a test that calls it with each case; one that fails is named in a note.

    Args:
        cases: the argument of a function of one parameter, or a tuple of the arguments.
    """
    all_cases = list(cases)
    assert all_cases

    def decorate(test: Callable[..., None]) -> Callable[[], None]:
        has_one = len(inspect.signature(test).parameters) == 1

        def test_every_case() -> None:
            for number, case in enumerate(all_cases):
                try:
                    test(*([case] if has_one else case))
                except BaseException as error:
                    error.add_note(f"case {number} of {len(all_cases)}: {case!r:.500}")
                    raise

        test_every_case.__name__ = test.__name__
        test_every_case.__qualname__ = test.__qualname__
        test_every_case.__module__ = test.__module__
        test_every_case.__doc__ = test.__doc__
        return test_every_case

    return decorate
