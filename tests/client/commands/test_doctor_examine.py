"""What is found on this machine, by what an environment says; servers are in `commands/test_doctor.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from track.commands.doctor import Check, examine


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"TRACK_SPOOL": str(tmp_path / "spools")}


def found(environment: dict[str, str], topic: str, uri: str | None = None) -> list[Check]:
    return [check for check in examine(uri, environment) if check.topic == topic]


def test_only_a_check_with_a_remedy_fails() -> None:
    assert Check("server", "there").is_ok
    assert not Check("server", "away", "start it").is_ok


def test_the_checks_change_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    list(examine(None, environment))
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_not_shown(environment: dict[str, str]) -> None:
    environment |= {"TRACK_TOKEN": "hush", "TRACK_URI": "socket://ann:hush@localhost:1"}
    reported = [check.text for check in found(environment, "environment")]
    assert "TRACK_TOKEN is set" in reported
    assert "hush" not in " ".join(reported)


@pytest.mark.parametrize("name", ["TRACK_SPOOL_SYNC", "TRACK_OFFLINE", "TRACK_RESUME"])
def test_an_invalid_variable_is_named_with_its_remedy(environment: dict[str, str], name: str) -> None:
    environment[name] = "sometimes"
    (wrong,) = [check for check in found(environment, "environment") if not check.is_ok]
    assert name in wrong.text
    assert wrong.remedy == "correct that variable, or unset it"


def test_a_file_cannot_be_the_spool_root(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "spools").write_text("a file")
    remedies = [check.remedy for check in found(environment, "spool")]
    assert any(remedy is not None and "TRACK_SPOOL" in remedy for remedy in remedies)


def test_a_store_of_this_machine_needs_no_server(environment: dict[str, str]) -> None:
    (server,) = found(environment, "server", "sqlite:runs.db")
    assert server.text == "sqlite:runs.db is a store on this machine; it needs no server"
    assert server.is_ok


def test_an_invalid_address_is_reported_and_not_raised(environment: dict[str, str]) -> None:
    (server,) = found(environment, "server", "socket://")
    assert not server.is_ok
