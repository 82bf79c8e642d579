"""The reference page of the storage contract, made from its declaration; run as a program, it writes it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

from track.persistence.calls import reads
from track.persistence.protocol import Protocol
from track_protocol.wire.methods import METHODS, Access
from track_protocol.wire.roles import Role

__all__ = ["CONTRACT", "reference"]

PAGE: Final = Path(__file__).parents[2] / "client" / "docs" / "methods.md"
CONTRACT: Final = tuple(
    name for name, value in vars(Protocol).items() if inspect.isfunction(value) and not name.startswith("_")
)
"""Every method of the contract, in the order of its class."""

_HEAD: Final = """\
# Methods of the storage contract

What `TrackClient` calls on any store: the methods of
`track.persistence.protocol.Protocol`, which documents each of them in full. *read* and *write* wait for an
answer; *log* returns at once, and `flush` waits until it is stored; *local* does not call the store.
The role is the least that a server wants of the user.

This page is made from the declaration of each method (`track_protocol.wire.methods`):
`python tests/support/contract_reference.py`.

| method | access | role | |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """Return the page."""
    return _HEAD + "".join(map(_row, CONTRACT))


def _row(name: str) -> str:
    method = getattr(Protocol, name)
    shown = ", ".join(map(_parameter, list(inspect.signature(method).parameters.values())[1:]))
    summary = (inspect.getdoc(method) or "").partition("\n\n")[0].replace("\n", " ")
    access, role = _access(name)
    return f"| `{name}({shown})` | {access} | {role} | {summary} |\n"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
    default = "" if parameter.default is inspect.Parameter.empty else "=…"
    return f"{stars}{parameter.name}{default}"


def _access(name: str) -> tuple[str, str]:
    declared = METHODS.get(name)
    if declared is not None:
        return declared.access.value, str(declared.role)
    if reads(name):
        return Access.READ.value, str(Role.READER)
    if name.startswith("log_"):
        return Access.LOG.value, str(Role.WRITER)
    return "local", ""


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
