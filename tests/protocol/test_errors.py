from __future__ import annotations

import pickle

import pytest

from every_case import every
from track_protocol import errors
from track_protocol.errors import RPCCallFailure, TrackError, error_from_wire
from track_protocol.security.tokens import new_token

CLASSES = [
    thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, TrackError)
]

every_class = every(CLASSES)


def test_every_class_has_a_code_of_its_own() -> None:
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


@every_class
def test_what_one_side_raises_the_other_raises_too(cls: type[TrackError]) -> None:
    raised = error_from_wire(cls.code, "it failed because: do that")
    assert type(raised) is cls
    assert str(raised) == "it failed because: do that"


@every_class
def test_no_message_has_a_token_in_it(cls: type[TrackError]) -> None:
    # Fails when `TrackError` does not redact what it is given.
    token = new_token()
    raised = cls(f"socket://ann:{token}@node1 is wrong")
    assert token not in str(raised) + repr(raised) + repr(vars(raised))
    assert "socket://ann:trk_***" in str(raised)


@every_class
def test_an_exit_code_is_one_of_the_documented_ones(cls: type[TrackError]) -> None:
    assert cls.exit_code in (1, 2, 3, 4, 5)


@every_class
def test_an_error_survives_the_way_between_processes(cls: type[TrackError]) -> None:
    error = error_from_wire(cls.code, "it failed", "Traceback")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line itself
    assert type(copy) is cls
    assert str(copy) == "it failed"
    assert getattr(copy, "trace", None) == getattr(error, "trace", None)


def test_an_unknown_code_is_a_failed_call() -> None:
    raised = error_from_wire("from-the-future", "it failed", "Traceback")
    assert type(raised) is RPCCallFailure
    assert (raised.message, raised.trace) == ("it failed", "Traceback")


@pytest.mark.parametrize("code", ["object", "__class__", "TrackError", "SystemExit", ""])
def test_a_peer_names_no_class_but_those_of_the_tree(code: str) -> None:
    assert type(error_from_wire(code, "it failed")) is RPCCallFailure


def test_the_error_carries_the_remote_traceback() -> None:
    raised = error_from_wire("internal", "it failed", "Traceback of the server")
    assert isinstance(raised, RPCCallFailure)
    assert raised.trace == "Traceback of the server"


@pytest.mark.parametrize(
    ("cls", "base"),
    [
        (errors.UriError, ValueError),
        (errors.BadArguments, ValueError),
        (errors.ItemNotFound, LookupError),
        (errors.ServerUnreachable, ConnectionError),
        (errors.CallTimeout, TimeoutError),
        (errors.MissingExtra, ImportError),
    ],
)
def test_an_error_is_caught_as_the_builtin_it_stands_for(
    cls: type[TrackError], base: type[Exception]
) -> None:
    assert issubclass(cls, base)
