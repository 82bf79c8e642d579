"""What is found on this machine, by what an environment says; servers are in `commands/test_doctor.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from track.commands.doctor import Finding, examine


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"TRACK_SPOOL": str(tmp_path / "spools")}


def found(environment: dict[str, str], topic: str, uri: str | None = None) -> list[Finding]:
    return [finding for finding in examine(uri, environment) if finding.topic == topic]


def test_only_a_check_with_a_remedy_fails() -> None:
    assert Finding("server", "there").is_ok
    assert not Finding("server", "away", "start it").is_ok


def test_the_checks_change_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    list(examine(None, environment))
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_not_shown(environment: dict[str, str]) -> None:
    environment |= {"TRACK_TOKEN": "hush", "TRACK_URI": "socket://ann:hush@localhost:1"}
    told = [finding.text for finding in found(environment, "environment")]
    assert "TRACK_TOKEN is set" in told
    assert "hush" not in " ".join(told)


@pytest.mark.parametrize("name", ["TRACK_SPOOL_SYNC", "TRACK_OFFLINE", "TRACK_RESUME"])
def test_an_invalid_variable_is_named_with_its_remedy(environment: dict[str, str], name: str) -> None:
    environment[name] = "sometimes"
    (wrong,) = [finding for finding in found(environment, "environment") if not finding.is_ok]
    assert name in wrong.text
    assert wrong.remedy == "correct that variable, or unset it"


def test_a_file_cannot_be_the_spool_root(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "spools").write_text("a file")
    remedies = [finding.remedy for finding in found(environment, "spool")]
    assert any(remedy is not None and "TRACK_SPOOL" in remedy for remedy in remedies)


def test_a_store_of_this_machine_needs_no_server(environment: dict[str, str]) -> None:
    (server,) = found(environment, "server", "sqlite:runs.db")
    assert server.text == "sqlite:runs.db is a store on this machine; it needs no server"
    assert server.is_ok


def test_an_invalid_address_is_reported_and_not_raised(environment: dict[str, str]) -> None:
    (server,) = found(environment, "server", "socket://")
    assert not server.is_ok
