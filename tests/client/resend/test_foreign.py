"""The spool of another user: nothing is read but what is that user's, and nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orphaned_spools import left_spool
from other_user import OTHER_USER, as_other_user, give_away, needs_two_users, shared_folder
from track.resend.foreign import copied_spool, foreign_spools
from track.spool.folder import SpoolFolder
from track.spool.reader import look_at
from track_protocol.errors import SpoolError, SpoolInUse
from track_protocol.wire.counts import Counts

pytestmark = needs_two_users


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A spool of the other user."""
    with shared_folder() as folder:
        path = left_spool(folder / "spools")
        give_away(path.parent)
        yield path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_holds_what_the_spool_holds_and_the_spool_stays(theirs: Path) -> None:
    before = contents(theirs)
    (found,) = foreign_spools(theirs.parent)
    with copied_spool(found) as copy:
        assert look_at(copy).waiting == Counts(30)
        SpoolFolder.open(copy).close()
    assert not copy.exists()
    assert contents(theirs) == before


@pytest.mark.parametrize("mask", [0, 0o077])
def test_a_copy_is_private_whatever_the_umask(theirs: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with copied_spool(theirs) as copy:
            assert {path.stat().st_mode & 0o077 for path in (copy, *copy.iterdir())} == {0}
            assert {path.stat().st_uid for path in (copy, *copy.iterdir())} == {os.geteuid()}
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["spool.json", "state.json", "00000002.segment", "lock"])
def test_a_link_to_a_file_of_ours_is_not_followed(theirs: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "key").write_bytes(b"a private key")

    def plant() -> None:
        (theirs / name).unlink(missing_ok=True)
        (theirs / name).symlink_to(tmp_path / "key")

    as_other_user(plant)
    with pytest.raises(SpoolError, match=f"{name} is a symbolic link"), copied_spool(theirs):
        pass


def test_a_file_of_ours_in_their_folder_is_not_read(theirs: Path) -> None:
    # As a hard link would be, where the system allows one.
    (theirs / "00000002.segment").write_bytes(b"a private key")
    with pytest.raises(SpoolError, match="not a file of the folder's owner"), copied_spool(theirs):
        pass


def test_a_link_in_the_place_of_the_folder_is_not_followed(theirs: Path, tmp_path: Path) -> None:
    mine = left_spool(tmp_path, session=b"m" * 16)
    link = theirs.parent / mine.name
    as_other_user(lambda: link.symlink_to(mine))
    with pytest.raises(SpoolError, match="could not be read"), copied_spool(link):
        pass


def test_a_named_pipe_does_not_block(theirs: Path) -> None:
    as_other_user(lambda: os.mkfifo(theirs / "00000002.segment"))
    with pytest.raises(SpoolError, match="not a file of the folder's owner"), copied_spool(theirs):
        pass


def test_a_spool_that_its_owner_writes_is_left_alone(theirs: Path) -> None:
    ready, begin = os.pipe()
    done, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(OTHER_USER)
        folder = SpoolFolder.open(theirs)
        os.write(begin, b"!")
        os.read(done, 1)
        folder.close()
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(SpoolInUse, match="in use by a process of its owner"), copied_spool(theirs):
        pass
    os.write(end, b"!")
    os.waitpid(child, 0)
    for descriptor in (ready, begin, done, end):
        os.close(descriptor)
