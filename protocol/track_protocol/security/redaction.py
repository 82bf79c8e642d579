"""Command lines without the secrets in them, for what is stored where others may read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from track_protocol.security.tokens import redact_tokens
from track_protocol.uri import redact

__all__ = ["redacted_arguments"]

_HIDDEN: Final = "***"

_NAMES_A_SECRET: Final = re.compile(
    r"(?:^|[-_.])(?:password|passwd|pwd|token|secret|api[-_]?key|access[-_]?key|credentials?)(?:[-_.]|$)",
    re.IGNORECASE,
)
"""Words in the name of an option: ``--hf-token``, but not ``--max-tokens`` and ``--tokenizer``."""

_TOKEN: Final = re.compile(r"\b(hf_|sk-|gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}")
"""Tokens of others that scripts of this field are given, and that say by their beginning what they are."""


def redacted_arguments(arguments: Iterable[str]) -> list[str]:
    """Arguments of a program with ``***`` for what may be a secret.

    Hidden are the values of options whose name says that they are one (``--token X``, ``--api-key=X``,
    ``HF_TOKEN=X``), the passwords in URIs, and tokens that are recognised by their form.
    """
    shown: list[str] = []
    value_is_secret = False
    for argument in arguments:
        name, mark, value = argument.partition("=")
        if value_is_secret and not argument.startswith("-"):
            shown.append(_HIDDEN)
            value_is_secret = False
            continue
        value_is_secret = not mark and name.startswith("-") and _is_secret(name)
        if mark and _is_secret(name):
            value = _HIDDEN
        shown.append(_visible(name) + mark + _visible(value))
    return shown


def _is_secret(name: str) -> bool:
    return _NAMES_A_SECRET.search(name) is not None


def _visible(text: str) -> str:
    shown = redact_tokens(redact(text) if "://" in text else text)
    return _TOKEN.sub(rf"\1{_HIDDEN}", shown)
