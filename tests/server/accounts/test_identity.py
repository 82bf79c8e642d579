from __future__ import annotations

import datetime
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from made_certificates import make_certificate
from track_protocol.errors import StoreCorrupt, StoreError, UsageError
from track_protocol.security.tls import endpoint_binding, pin_of_certificate
from track_server.accounts.identity import Identity, pin_of_file

MAKE = (
    "import sys; from pathlib import Path; from track_server.accounts.identity import Identity;"
    "sys.stdin.readline(); print(Identity.load_or_create(Path(sys.argv[1])).pin)"
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_an_identity_that_stays(tmp_path: Path) -> None:
    assert Identity.load_or_create(tmp_path / "home") == Identity.load_or_create(tmp_path / "home")


def test_an_identity_is_a_p256_key_with_a_certificate_of_20_years(tmp_path: Path) -> None:
    made = Identity.load_or_create(tmp_path)
    certificate = x509.load_der_x509_certificate(made.certificate_der)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    assert certificate.subject.rfc4514_string() == "CN=track"
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=7200) < left < datetime.timedelta(days=7400)


def test_key_home_and_certificate_are_for_the_owner_only(tmp_path: Path) -> None:
    made = Identity.load_or_create(tmp_path / "home")
    assert mode_of(made.key_path) == mode_of(made.certificate_path) == 0o600
    assert mode_of(tmp_path / "home") == 0o700


def test_pin_and_binding_are_those_of_the_certificate(tmp_path: Path) -> None:
    made = Identity.load_or_create(tmp_path)
    assert made.pin == pin_of_certificate(made.certificate_der) == pin_of_file(made.certificate_path)
    assert made.binding == endpoint_binding(made.certificate_der)


def test_a_start_with_an_identity_loads_no_large_library_for_it(tmp_path: Path) -> None:
    Identity.load_or_create(tmp_path)
    loads = (
        "import sys; from pathlib import Path; import track_server.network.process;"
        "from track_server.accounts.identity import Identity; Identity.load_or_create(Path(sys.argv[1]));"
        "print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", loads, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_identity_does_not_show_its_private_key(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(Identity.load_or_create(tmp_path))


def test_processes_that_start_at_once_end_with_one_identity(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(tmp_path / "home")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    pins = {process.communicate(timeout=60)[0] for process in started}
    assert pins == {Identity.load_or_create(tmp_path / "home").pin + "\n"}


def test_a_crash_between_key_and_certificate_keeps_the_pin(tmp_path: Path) -> None:
    made = Identity.load_or_create(tmp_path)
    made.certificate_path.unlink()
    assert Identity.load_or_create(tmp_path).pin == made.pin


def test_a_lost_key_is_an_error_and_not_a_new_identity(tmp_path: Path) -> None:
    Identity.load_or_create(tmp_path).key_path.unlink()
    with pytest.raises(StoreCorrupt, match="put the key back"):
        Identity.load_or_create(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o602])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    Identity.load_or_create(tmp_path).key_path.chmod(mode)
    with pytest.raises(UsageError, match=r"identity\.key may be read by others"):
        Identity.load_or_create(tmp_path)


def test_a_damaged_key_is_refused_by_name(tmp_path: Path) -> None:
    Identity.load_or_create(tmp_path).key_path.write_bytes(b"garbage")
    with pytest.raises(StoreCorrupt, match=r"identity\.key"):
        Identity.load_or_create(tmp_path)


def test_a_damaged_certificate_is_refused_by_name(tmp_path: Path) -> None:
    Identity.load_or_create(tmp_path).certificate_path.write_bytes(b"garbage")
    with pytest.raises(StoreCorrupt, match=r"identity\.crt"):
        Identity.load_or_create(tmp_path)


def test_a_certificate_of_ones_own_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    made = make_certificate()
    certificate, key = made.write(tmp_path)
    used = Identity.load_or_create(tmp_path / "home", certificate=certificate, key=key)
    assert used.certificate_der == made.der
    assert not (tmp_path / "home").exists()


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    with pytest.raises(UsageError, match="give both"):
        Identity.load_or_create(tmp_path, certificate=certificate)
    with pytest.raises(UsageError, match="give both"):
        Identity.load_or_create(tmp_path, key=key)


def test_a_key_of_ones_own_that_anybody_may_read_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    key.chmod(0o644)
    with pytest.raises(UsageError, match=r"own\.key"):
        Identity.load_or_create(tmp_path, certificate=certificate, key=key)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
def test_a_key_of_roots_may_be_read_by_its_group(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    key.chmod(0o640)
    assert Identity.load_or_create(tmp_path, certificate=certificate, key=key).key_path == key


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    _, other = Identity.load_or_create(tmp_path / "home").certificate_path, tmp_path / "home" / "identity.key"
    key.write_bytes(other.read_bytes())
    with pytest.raises(UsageError, match="is not the key of"):
        Identity.load_or_create(tmp_path, certificate=certificate, key=key)


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate().write(tmp_path)
    locked = load_pem_private_key(key.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
    )
    key.write_bytes(locked)
    with pytest.raises(StoreCorrupt, match="passphrase"):
        Identity.load_or_create(tmp_path, certificate=certificate, key=key)


def test_an_ed25519_key_is_refused_because_no_binding_is_defined(tmp_path: Path) -> None:
    certificate, key = make_certificate(ed25519.Ed25519PrivateKey.generate()).write(tmp_path)
    with pytest.raises(UsageError, match="ECDSA"):
        Identity.load_or_create(tmp_path, certificate=certificate, key=key)


@pytest.mark.parametrize("missing", ["own.crt", "own.key"])
def test_a_missing_file_of_ones_own_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    certificate, key = make_certificate().write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StoreError, match=missing):
        Identity.load_or_create(tmp_path, certificate=certificate, key=key)
