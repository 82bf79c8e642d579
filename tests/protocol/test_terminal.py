"""Texts that could control a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from track_protocol.errors import RPCCallFailure, error_from_wire
from track_protocol.terminal import clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b2J", "\\u009b2J"),
        ("over\rwritten\x08\x7f", "over\\u000dwritten\\u0008\\u007f"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("\udc9b", "\\udc9b"),
        ("résumé 猫\tis\nfine", "résumé 猫\tis\nfine"),
    ],
)
def test_what_could_control_a_terminal_is_shown(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_json_stays_json_of_the_same_value(text: str) -> None:
    assert json.loads(clean(json.dumps(text, ensure_ascii=False))) == text


@given(st.text())
def test_what_is_clean_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_the_message_of_a_peer_is_cleaned_before_it_is_logged_or_printed() -> None:
    error = error_from_wire("authentication", "\x1b[2Jwelcome")
    assert str(error) == "\\u001b[2Jwelcome"
    failure = error_from_wire("call-failed", "\x07", "trace \x9b")
    assert isinstance(failure, RPCCallFailure)
    assert (failure.message, failure.trace) == ("\\u0007", "trace \\u009b")
