"""Files are used while they are the process's own, no forked child inherits one, and replacing is atomic."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from track.process import files
from track.process.files import OwnedFile, locked, replace_file, sync
from track.spool.folder import SpoolFolder, SpoolMetadata, is_held
from track.spool.options import SpoolOptions
from track.spool.writer import Spool
from track_protocol.errors import SpoolError

METADATA = SpoolMetadata("ab" * 16, "memory:", "train.py", "here", 1, 1.0)


def test_a_descriptor_that_is_another_files_now_is_not_used(tmp_path: Path) -> None:
    # Fails when `OwnedFile.fileno` gives its number without a look at the file behind it.
    mine = OwnedFile(tmp_path / "mine", os.O_WRONLY | os.O_CREAT)
    descriptor = mine.fileno()
    os.close(descriptor)
    with pytest.raises(OSError, match="has closed its descriptor"):
        mine.fileno()
    with (tmp_path / "theirs").open("wb") as opened:
        os.dup2(opened.fileno(), descriptor)
    with open(descriptor, "wb") as theirs:
        with pytest.raises(OSError, match="has closed its descriptor"):
            mine.fileno()
        mine.close()
        theirs.write(b"theirs")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_a_spool_continues_in_a_new_segment_when_the_program_has_closed_its_descriptors(
    tmp_path: Path,
) -> None:
    # Fails when `Spool` writes to the numbers that it had.
    script = """
        import os, sys
        from pathlib import Path
        from track.spool.folder import SpoolFolder, SpoolMetadata
        from track.spool.options import SpoolOptions
        from track.spool.writer import Spool
        from track_protocol.errors import SpoolError

        root = Path(sys.argv[1])
        metadata = SpoolMetadata("ab" * 16, "memory:", "train.py", "here", 1, 1.0)
        spool = Spool(SpoolFolder.create(root, metadata), SpoolOptions(root))
        one = spool.append(1, 1, b"one")
        os.closerange(3, 256)
        mine = [os.open(root / f"mine-{number}", os.O_RDWR | os.O_CREAT) for number in range(8)]
        try:
            spool.append(2, 2, b"two")
        except SpoolError as error:
            print(error)
        two = spool.append(2, 2, b"two")
        assert [data for each in (one, two) for _, _, data in spool.read_extent(each)] == [b"one", b"two"]
        assert spool.folder.is_there
        assert [os.fstat(file).st_size for file in mine] == [0] * 8
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "the program has closed its descriptor" in done.stdout


def test_a_child_that_is_forked_while_a_lock_is_held_does_not_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when a file that is being opened is not noted before the fork.
    opened, forked = threading.Event(), threading.Event()
    really_open = os.open

    def slow_open(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = really_open(path, flags, mode, dir_fd=dir_fd)
        if Path(path).name == "lock":
            opened.set()
            forked.wait(0.2)
        return descriptor

    monkeypatch.setattr(os, "open", slow_open)
    made: list[SpoolFolder] = []
    maker = threading.Thread(target=lambda: made.append(SpoolFolder.create(tmp_path, METADATA)))
    maker.start()
    assert opened.wait(10.0)
    read, write = os.pipe()
    begun, begins = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.write(begins, b"!")
        os.read(read, 1)
        os._exit(0)
    forked.set()
    maker.join()
    os.read(begun, 1)  # what a fork does in the child comes before that
    for end in (read, begun, begins):
        os.close(end)
    try:
        assert is_held(made[0].path)
        made[0].close()
        assert not is_held(made[0].path)
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_a_child_cannot_write_to_the_files_of_its_parents_spools(tmp_path: Path) -> None:
    spool = Spool(SpoolFolder.create(tmp_path, METADATA), SpoolOptions(tmp_path))
    spool.append(1, 1, b"one")
    child = os.fork()
    if child == 0:
        try:
            spool.append(2, 2, b"two")
        except SpoolError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    spool.append(2, 2, b"two")
    spool.remove()


# -- replaced, locked and flushed ----------------------------------------------------------------


def test_a_file_is_replaced_atomically_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with path.open("rb") as reading:
        replace_file(path, b"new")
        assert reading.read() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_replaced_is_as_it_was_and_nothing_is_left_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fails when `replace_file` writes to the file itself, or leaves what it wrote beside it.
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a.json": b"old"}


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_system_that_flushes_further_is_asked_to_and_need_not_be_able_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The number of no request of Linux's, as a file system of macOS may not know ``F_FULLFSYNC``.
    monkeypatch.setattr(files, "_FULL_SYNC", 51_234)
    with (tmp_path / "file").open("wb") as file:
        sync(file.fileno())
