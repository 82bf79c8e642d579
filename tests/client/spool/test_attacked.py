"""A spool among what another user has prepared: nothing of theirs is read or written, and it says why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orphaned_spools import SESSION, left_spool
from other_user import OTHER_USER, as_other_user, give_away, needs_two_users, shared_folder
from track.spool.folder import SpoolFolder, SpoolMetadata, spools_in
from track.spool.options import SpoolOptions, SpoolSync
from track.spool.reader import look_at, look_in, recover
from track.spool.writer import Spool
from track_protocol.errors import SpoolError

METADATA = SpoolMetadata(SESSION.hex(), "socket://ann@node1:8123", "train.py", "node7", 4711, 1.7e9)
SECRET = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "id_ed25519"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_folder() as folder:
        yield folder


def contents(folder: Path) -> set[bytes]:
    """What the regular files in a folder hold."""
    return {path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_a_segment_that_is_a_link_is_not_read(tmp_path: Path, key: Path) -> None:
    # Read, it would be damage, and its bytes would be copied to the folder `damaged`.
    path = left_spool(tmp_path / "spools")
    (path / "00000009.segment").symlink_to(key)
    found = look_at(path)
    assert "it is a symbolic link" in str(found.error)
    folder = SpoolFolder.open(path)
    with pytest.raises(SpoolError, match="it is a symbolic link"):
        recover(folder, SpoolOptions(path.parent))
    folder.close()
    assert SECRET not in contents(path)


@pytest.mark.parametrize("name", ["lock", "state.json", "state.part", "00000001.segment"])
def test_a_dangling_link_in_a_spool_creates_nothing_elsewhere(tmp_path: Path, name: str) -> None:
    elsewhere, root = tmp_path / "sitecustomize.py", tmp_path / "spools"
    folder = SpoolFolder.create(root, METADATA)
    (folder.path / name).unlink(missing_ok=True)
    (folder.path / name).symlink_to(elsewhere)
    spool = Spool(folder, SpoolOptions(root, SpoolSync.NONE))
    for use in (
        lambda: spool.append(1, 1, b"payload"),
        lambda: folder.write_checkpoint(folder.checkpoint()),
        lambda: SpoolFolder.open(folder.path).close(),
    ):
        try:
            use()
        except (OSError, SpoolError):
            continue
    spool.close()
    folder.close()
    assert not elsewhere.exists()


def test_damaged_bytes_do_not_go_where_a_link_leads(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = SpoolFolder.create(tmp_path / "spools", METADATA)
    (folder.path / "damaged").symlink_to(elsewhere)
    with pytest.raises(SpoolError, match="it is a symbolic link"):
        folder.quarantine("00000001-24", b"attack")
    (folder.path / "damaged").unlink()
    (folder.path / "damaged").mkdir()
    (folder.path / "damaged" / "00000001-24").symlink_to(elsewhere / "file")
    assert folder.quarantine("00000001-24", b"attack") is None
    assert list(elsewhere.iterdir()) == []
    folder.close()


def test_a_spool_that_is_a_link_is_shown_and_not_used(tmp_path: Path) -> None:
    real = left_spool(tmp_path / "elsewhere")
    root = tmp_path / "spools"
    root.mkdir()
    (root / real.name).symlink_to(real)
    (found,) = look_in(root)
    assert "it is a symbolic link" in str(found.error)
    with pytest.raises(SpoolError, match="it is a symbolic link"):
        SpoolFolder.open(root / real.name)


def test_a_root_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "spools"
    left_spool(root)
    root.chmod(0o777)
    with pytest.raises(SpoolError, match="others may write to it"):
        list(spools_in(root))
    with pytest.raises(SpoolError, match="others may write to it"):
        SpoolFolder.create(root, METADATA)


def test_a_spool_that_others_may_write_to_is_shown_and_not_used(tmp_path: Path) -> None:
    path = left_spool(tmp_path / "spools")
    path.chmod(0o770)
    (found,) = look_in(path.parent)
    assert "others may write to it (mode 0770)" in str(found.error)
    with pytest.raises(SpoolError, match="others may write to it"):
        SpoolFolder.open(path)


@pytest.mark.parametrize("mask", [0o000, 0o002])
def test_the_folders_of_a_spool_are_its_users_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    root = tmp_path / "state" / "track" / "spool"
    before = os.umask(mask)
    try:
        path = left_spool(root)
    finally:
        os.umask(before)
    found = {each.stat().st_mode & 0o777 for each in (root.parents[1], root.parent, root, path)}
    assert found == {0o700}
    assert {each.stat().st_mode & 0o777 for each in path.iterdir()} == {0o600}


@needs_two_users
def test_a_root_that_another_user_made_first_is_refused(shared: Path) -> None:
    root = shared / "spools"
    as_other_user(lambda: root.mkdir(mode=0o755))
    with pytest.raises(SpoolError, match=f"it belongs to user {OTHER_USER}"):
        SpoolFolder.create(root, METADATA)
    assert list(root.iterdir()) == []


@needs_two_users
def test_a_spool_of_another_user_is_shown_and_not_used(tmp_path: Path) -> None:
    path = left_spool(tmp_path / "spools")
    give_away(path)
    (found,) = look_in(path.parent)
    assert f"it belongs to user {OTHER_USER}" in str(found.error)
    with pytest.raises(SpoolError, match=f"it belongs to user {OTHER_USER}"):
        SpoolFolder.open(path)


@needs_two_users
def test_another_user_cannot_read_a_spool_or_put_anything_into_it(shared: Path) -> None:
    path = left_spool(shared / "spools")

    def attack() -> None:
        with pytest.raises(PermissionError):
            (path / "spool.json").read_bytes()
        with pytest.raises(PermissionError):
            (path / "00000002.segment").symlink_to("/etc/passwd")
        with pytest.raises(PermissionError):
            (path.parent / "planted").mkdir()

    as_other_user(attack)
