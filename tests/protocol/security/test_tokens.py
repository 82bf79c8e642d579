from __future__ import annotations

import copy
import io
import logging
import pickle
import traceback

import pytest

from track_protocol.security.tokens import (
    TOKEN_BITS,
    Secret,
    is_generated,
    new_token,
    read_redacted,
    redact_tokens,
    redact_tokens_in_bytes,
)


def test_a_token_is_recognised_as_generated() -> None:
    assert is_generated(new_token())


def test_a_token_carries_160_bits_in_base32() -> None:
    assert TOKEN_BITS == 160
    assert len(new_token()) == len("trk_") + 160 // 5 + 6


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_every_mistyped_letter_is_detected() -> None:
    token = new_token()
    for place in range(4, len(token)):
        other = "b" if token[place] == "a" else "a"
        assert not is_generated(token[:place] + other + token[place + 1 :])


@pytest.mark.parametrize("text", ["", "trk_", "correct horse battery staple", "trk_" + "a" * 38])
def test_a_chosen_password_is_not_recognised_as_a_token(text: str) -> None:
    assert not is_generated(text)


def test_a_token_in_other_letters_is_not_recognised() -> None:
    assert not is_generated(new_token().upper())


def test_a_token_with_a_suffix_is_not_recognised() -> None:
    assert not is_generated(new_token() + "\n")


def test_a_secret_is_revealed_only_when_asked() -> None:
    assert Secret("hunter2").reveal() == "hunter2"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, "{:>20}".format, "%s".__mod__, "%r".__mod__])
def test_a_secret_shows_in_no_text(shown: object) -> None:
    assert callable(shown)
    assert "hunter2" not in shown(Secret("hunter2"))


def test_a_secret_shows_in_no_container() -> None:
    assert "hunter2" not in repr({"token": [Secret("hunter2")]})


def test_a_secret_shows_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("token %s %r", Secret("hunter2"), Secret("hunter2"))
    assert "hunter2" not in caplog.text


def test_a_secret_shows_in_no_traceback_with_local_variables() -> None:
    def fail(secret: Secret) -> None:
        raise ValueError(f"no use for {secret}")

    with pytest.raises(ValueError, match="no use for") as failed:
        fail(Secret("hunter2"))
    shown = "".join(traceback.TracebackException.from_exception(failed.value, capture_locals=True).format())
    # The traceback quotes this file's own lines, in which the secret is a literal.
    said = [line for line in shown.splitlines() if "fail(Secret(" not in line]
    assert "hunter2" not in "\n".join(said)


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret(Secret("a"))
    assert Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_secret_is_not_its_text() -> None:
    assert Secret("a") != "a"


def test_an_empty_secret_is_false() -> None:
    assert not Secret("")
    assert Secret("a")


def test_a_secret_may_be_copied_and_sent_to_a_child_process() -> None:
    assert copy.deepcopy(Secret("a")) == Secret("a")
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")  # noqa: S301 - our own bytes


def test_every_token_in_a_text_is_redacted_and_nothing_else() -> None:
    one, other = new_token(), new_token()
    text = f"socket://ann:{one}@node1 trk_{one}{other}x {one[:-1]} trk_"
    redacted = redact_tokens(text)
    assert one not in redacted
    assert other not in redacted
    assert len(redacted) == len(text)
    assert redacted.startswith("socket://ann:trk_**")
    assert redacted.endswith(f"x {one[:-1]} trk_")


def test_a_text_without_a_token_is_the_same() -> None:
    text = "trk_" + "a" * 38
    assert redact_tokens(text) == text


def test_tokens_are_redacted_in_bytes_that_are_no_utf_8() -> None:
    token = new_token().encode()
    redacted = redact_tokens_in_bytes(b"\xff" + token + b"\xfe")
    assert redacted == b"\xfftrk_" + b"*" * 38 + b"\xfe"


@pytest.mark.parametrize("size", [1, 7, 41, 42, 43, 1000])
def test_a_file_that_is_read_in_parts_has_no_part_of_a_token(size: int) -> None:
    data = f"before {new_token()}{new_token()} between {new_token()}".encode()
    file = io.BytesIO(data)
    parts = [read_redacted(file, offset, size) for offset in range(0, len(data), size)]
    assert b"".join(parts) == redact_tokens_in_bytes(data)
    assert read_redacted(file, len(data), size) == b""
