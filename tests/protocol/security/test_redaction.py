"""Command lines as they are stored."""

from __future__ import annotations

import pytest

from track_protocol.security.redaction import redacted_arguments
from track_protocol.security.tokens import new_token


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--token", "abc"], ["--token", "***"]),
        (["--hf-token=abc"], ["--hf-token=***"]),
        (["--api_key", "abc", "--lr", "0.1"], ["--api_key", "***", "--lr", "0.1"]),
        (["--wandb.password=a=b"], ["--wandb.password=***"]),
        (["HF_TOKEN=abc"], ["HF_TOKEN=***"]),
        (["--uri=socket://bob:abc@node1:8123"], ["--uri=socket://bob:***@node1:8123"]),
        (["socket://bob:abc@node1"], ["socket://bob:***@node1"]),
        (["hf_" + "a" * 34], ["hf_***"]),
    ],
)
def test_a_secret_is_hidden(given: list[str], shown: list[str]) -> None:
    assert redacted_arguments(given) == shown


def test_a_generated_token_is_hidden_wherever_it_is() -> None:
    token = new_token()
    assert token not in " ".join(redacted_arguments(["train.py", f"--note=my {token}", token]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.py", "--lr=0.1", "--max-tokens", "512", "--tokenizer=gpt2", "model.width=64"],
        ["--token", "--verbose", "x"],
        ["https://example.org/data?split=train"],
    ],
)
def test_other_arguments_stay(arguments: list[str]) -> None:
    assert redacted_arguments(arguments) == arguments
