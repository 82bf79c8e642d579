from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from made_certificates import make_certificate
from track.connection.credentials import LocalCredentials
from track.connection.trust import KnownServers, pins_for
from track_protocol.errors import AuthenticationError, PinMismatch, UsageError
from track_protocol.security.tls import pin_of_certificate
from track_protocol.security.tokens import Secret, new_token

DER = make_certificate().der
PIN = pin_of_certificate(DER)
OTHER_DER = make_certificate().der
OTHER = pin_of_certificate(OTHER_DER)
TOKEN = Secret(new_token())
PASSWORD = Secret("correct horse")
LOCAL = LocalCredentials("127.0.0.1", 8123, PIN, "local-0", TOKEN, 1, False, Path("/run/track/8123.json"))

REMEMBER_TEN = """
import sys
from pathlib import Path
from track.connection.trust import KnownServers

for port in range(10):
    KnownServers(Path(sys.argv[1])).save(f"node{sys.argv[2]}:{port + 1}", sys.argv[3])
"""


@pytest.fixture
def known(tmp_path: Path) -> KnownServers:
    return KnownServers(tmp_path / "state")


def saved_pin(known: KnownServers, name: str) -> str | None:
    return known.saved_pins([name]).get(name)


def test_an_unknown_server_has_no_pin(known: KnownServers) -> None:
    assert saved_pin(known, "node17:8123") is None


def test_a_pin_is_saved_for_its_address_only(known: KnownServers) -> None:
    known.save("node17:8123", PIN)
    assert saved_pin(known, "node17:8123") == PIN
    assert saved_pin(known, "node17:8124") is None
    assert saved_pin(known, "node18:8123") is None


def test_a_saved_pin_is_never_overwritten(known: KnownServers) -> None:
    known.save("node17:8123", PIN)
    with pytest.raises(PinMismatch) as refused:
        known.save("node17:8123", OTHER)
    assert saved_pin(known, "node17:8123") == PIN
    for named in (PIN, OTHER, str(known.path), "node17:8123"):
        assert named in str(refused.value)


def test_the_memory_is_for_its_owner_only(known: KnownServers) -> None:
    known.save("node17:8123", PIN)
    assert stat.S_IMODE(known.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(known.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "servers": {}}', '{"version": 1, "servers": []}']
)
def test_a_damaged_memory_trusts_no_server_and_is_not_overwritten(known: KnownServers, text: str) -> None:
    known.path.parent.mkdir()
    known.path.write_text(text)
    with pytest.raises(AuthenticationError, match=r"known_servers\.json"):
        pins_for("node17:8123", uri_pins=(), secret=TOKEN, known=known)
    with pytest.raises(AuthenticationError, match=r"known_servers\.json"):
        known.save("node17:8123", PIN)
    assert known.path.read_text() == text


def test_an_unwritable_memory_is_a_warning_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").touch()
    known = KnownServers(tmp_path / "state" / "track")
    known.save("node17:8123", PIN)
    assert f"pin={PIN}" in caplog.text


def test_processes_that_remember_at_once_forget_nothing(known: KnownServers) -> None:
    folder = str(known.path.parent)
    started = [
        subprocess.Popen([sys.executable, "-c", REMEMBER_TEN, folder, str(number), PIN])
        for number in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(json.loads(known.path.read_bytes())["servers"]) == 30


def test_the_pins_of_the_uri_take_precedence(known: KnownServers) -> None:
    known.save("localhost:8123", OTHER)
    trust = pins_for("localhost:8123", uri_pins=(PIN, OTHER), secret=TOKEN, local=LOCAL, known=known)
    assert trust.pins == (PIN, OTHER)


def test_the_pin_of_the_users_own_server_overrides_a_saved_one(known: KnownServers) -> None:
    known.save("localhost:8123", OTHER)
    trust = pins_for("localhost:8123", uri_pins=(), secret=TOKEN, local=LOCAL, known=known)
    assert trust.pins == (PIN,)
    assert trust.origin == "/run/track/8123.json"


def test_a_saved_pin_is_expected(known: KnownServers) -> None:
    known.save("node17:8123", PIN)
    assert pins_for("node17:8123", uri_pins=(), secret=TOKEN, known=known).pins == (PIN,)


def test_the_key_of_one_server_is_expected_of_all_that_the_uri_names_and_then_saved(
    known: KnownServers,
) -> None:
    known.save("node17:8123", PIN)
    trust = pins_for(
        "node18:8123", uri_pins=(), secret=PASSWORD, siblings=["node17:8123", "node18:8123"], known=known
    )
    with pytest.raises(PinMismatch, match="remove the entry 'node17:8123'"):
        trust.check(OTHER_DER)
    trust.check(DER)
    trust.proven(DER)
    assert saved_pin(known, "node18:8123") == PIN


def test_servers_with_different_keys_are_not_of_one_store(known: KnownServers) -> None:
    known.save("node17:8123", PIN)
    known.save("node18:8123", OTHER)
    with pytest.raises(PinMismatch, match="different ones of node17:8123 and node18:8123: take the server"):
        pins_for("node17:8123", uri_pins=(), secret=TOKEN, siblings=["node18:8123"], known=known)


def test_the_right_key_is_accepted(known: KnownServers) -> None:
    pins_for("node17:8123", uri_pins=(PIN,), secret=TOKEN, known=known).check(DER)


def test_another_key_than_that_of_the_uri_is_refused(known: KnownServers) -> None:
    trust = pins_for("node17:8123", uri_pins=(OTHER,), secret=TOKEN, known=known)
    with pytest.raises(PinMismatch, match="the join URI expects"):
        trust.check(DER)


def test_another_key_than_the_last_time_names_both_the_file_and_the_remedy(known: KnownServers) -> None:
    known.save("node17:8123", OTHER)
    trust = pins_for("node17:8123", uri_pins=(), secret=TOKEN, known=known)
    with pytest.raises(PinMismatch) as refused:
        trust.check(DER)
    for named in (PIN, OTHER, str(known.path), "remove the entry 'node17:8123'"):
        assert named in str(refused.value)


def test_at_the_first_connection_a_token_is_used_and_the_proven_pin_is_stored(known: KnownServers) -> None:
    trust = pins_for("node17:8123", uri_pins=(), secret=TOKEN, known=known)
    trust.check(DER)
    assert saved_pin(known, "node17:8123") is None
    trust.proven(DER)
    assert saved_pin(known, "node17:8123") == PIN


def test_a_pin_that_was_given_is_not_saved(known: KnownServers) -> None:
    pins_for("node17:8123", uri_pins=(PIN,), secret=TOKEN, known=known).proven(DER)
    assert saved_pin(known, "node17:8123") is None


def test_a_password_is_not_used_toward_a_server_whose_key_is_unknown(known: KnownServers) -> None:
    with pytest.raises(AuthenticationError, match="no pin is known for node17:8123") as refused:
        pins_for("node17:8123", uri_pins=(), secret=PASSWORD, known=known)
    assert "correct horse" not in str(refused.value)


def test_a_password_is_used_toward_a_server_whose_key_is_known(known: KnownServers) -> None:
    assert pins_for("node17:8123", uri_pins=(PIN,), secret=PASSWORD, known=known).pins == (PIN,)
    assert pins_for("localhost:8123", uri_pins=(), secret=PASSWORD, local=LOCAL, known=known).pins == (PIN,)


def test_with_a_pin_in_the_uri_no_home_folder_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(env: object) -> Path:
        raise UsageError("no home")

    monkeypatch.setattr("track.connection.state_file.client_state_folder", no_home)
    trust = pins_for("node17:8123", uri_pins=(PIN,), secret=TOKEN)
    trust.check(DER)
    trust.proven(DER)
