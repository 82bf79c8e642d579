"""Names for trials whose script gives none: two words and a number, which people can say and search for."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["made_name"]

_FIRST: Final = (
    "amber", "ample", "ancient", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid",
    "clear", "clever", "cosy", "crisp", "curious", "daring", "eager", "early", "easy", "fair",
    "fast", "fine", "firm", "fluent", "fresh", "gentle", "glad", "golden", "grand", "happy",
    "hardy", "honest", "humble", "jolly", "keen", "kind", "late", "light", "lively", "lucky",
    "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "plain", "proud",
    "quick", "quiet", "rapid", "ready", "rosy", "serene", "sharp", "silver", "steady", "sunny",
    "swift", "tidy", "vivid", "warm", "wise",
)  # fmt: skip
_SECOND: Final = (
    "acorn", "badger", "beech", "birch", "bison", "brook", "canyon", "cedar", "cliff", "cloud",
    "comet", "coral", "crane", "creek", "dale", "dawn", "deer", "delta", "dune", "eagle", "elm",
    "ember", "falcon", "fern", "finch", "fjord", "fox", "gale", "glade", "grove", "gull", "harbor",
    "hare", "hawk", "hazel", "heron", "hill", "ibis", "island", "ivy", "jay", "lake", "larch",
    "lark", "leaf", "lynx", "maple", "marsh", "meadow", "mesa", "moss", "oak", "orbit", "otter",
    "owl", "peak", "pebble", "pine", "plover", "pond", "prairie", "quail", "raven", "reef", "ridge",
    "river", "robin", "sage", "seal", "shore", "sparrow", "spring", "stone", "swan", "tern",
    "thistle", "tide", "trail", "valley", "willow", "wren",
)  # fmt: skip


def made_name() -> str:
    """Such as ``brave-otter-27``; without the program's own random numbers, which it may have seeded."""
    first, second, number = os.urandom(2), os.urandom(2), os.urandom(2)
    words = (_FIRST, first), (_SECOND, second)
    chosen = [listed[int.from_bytes(drawn) % len(listed)] for listed, drawn in words]
    return f"{chosen[0]}-{chosen[1]}-{1 + int.from_bytes(number) % 999}"
