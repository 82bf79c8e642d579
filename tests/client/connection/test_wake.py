"""Descriptors that the program has closed are never written or read again."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from running_server import serving
from socket_peers import joined
from track.connection.wake import WakePipe
from track.process.files import OwnedDescriptor
from track_protocol.errors import ConnectionLost
from track_server.app import Settings

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors that a test opens in place of ours, closed at its end."""
    opened: list[int] = []
    yield opened
    for number in opened:
        os.close(number)


def replaced(number: int, path: Path, theirs: list[int]) -> Path:
    """A file of the program's own that has got the number of a descriptor of ours."""
    path.write_bytes(b"mine")
    other = os.open(path, os.O_RDWR)
    os.dup2(other, number)  # closes what was there
    os.close(other)
    theirs.append(number)
    return path


def test_a_descriptor_is_ours_until_it_is_closed(tmp_path: Path) -> None:
    owned = OwnedDescriptor(os.open(tmp_path, os.O_RDONLY))
    assert owned.is_ours
    owned.close()
    owned.close()
    assert not owned.is_ours


def test_a_number_that_is_another_files_now_is_not_ours_and_not_closed(
    tmp_path: Path, theirs: list[int]
) -> None:
    owned = OwnedDescriptor(os.open(tmp_path, os.O_RDONLY))
    replaced(owned.fileno(), tmp_path / "file", theirs)
    assert not owned.is_ours
    owned.close()
    os.fstat(theirs[0])


def other_end(end: int) -> int:
    """The other end of a pipe, which has the inode of both."""
    inode = os.fstat(end).st_ino
    numbers = map(int, os.listdir("/proc/self/fd"))
    return next(number for number in numbers if number != end and inode_of(number) == inode)


def inode_of(number: int) -> int:
    """0 for a descriptor that is closed meanwhile, such as that of the listing itself."""
    try:
        return os.fstat(number).st_ino
    except OSError:
        return 0


def test_a_wake_up_is_not_written_into_the_programs_file(tmp_path: Path, theirs: list[int]) -> None:
    # Fails when `WakePipe.wake` writes to the number that it had.
    pipe = WakePipe()
    writer = other_end(pipe.fileno())
    file = replaced(writer, tmp_path / "file", theirs)
    pipe.wake()
    assert not pipe.is_ours
    pipe.close()
    assert file.read_bytes() == b"mine"


def test_a_link_whose_descriptor_the_program_has_closed_is_lost_and_opens_again(
    tmp_path: Path, theirs: list[int]
) -> None:
    settings = Settings(backend="ephemeral:", port=0, home=tmp_path / "home")
    with serving(settings) as served, joined(served.join("ann")) as ann:
        assert ann.link._channel is not None
        file = replaced(ann.link._channel.fileno(), tmp_path / "file", theirs)
        ann.link.send_call(99, None, "fetch_trials", {"query": {}})
        with pytest.raises(ConnectionLost, match="has closed the descriptor"):
            ann.link.poll(0)
        ann.link.open(ann.session, 20)
        assert ann.new_trial()["revision"] == 0
        assert file.read_bytes() == b"mine"


SCRIPT = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    from track.client import TrackClient

    folder = Path(sys.argv[2])
    client = TrackClient(sys.argv[1])
    logger = client.new_trial(name="t")
    logger.log_metrics(loss=0.5)
    client.protocol.flush()
    for name in ("first", "second"):
        os.closerange(3, 256)
        theirs = [os.open(folder / f"{name}-{number}", os.O_RDWR | os.O_CREAT) for number in range(12)]
        logger.log_metrics(loss=0.5)
        client.protocol.flush()
    client.close()
    print(sum(os.fstat(number).st_size for number in theirs))
    """
)


def test_a_program_may_close_all_descriptors_without_losing_points(tmp_path: Path) -> None:
    # Fails when `Channel` sends to the number that it had: TLS records end in the program's file.
    settings = Settings(backend="ephemeral:", port=0, home=tmp_path / "home")
    with serving(settings) as served:
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, served.join("ann"), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert (run.returncode, run.stdout) == (0, "0\n"), run.stderr
        assert all(file.stat().st_size == 0 for file in tmp_path.glob("*-*"))
        with joined(served.join("eve")) as eve:
            (trial,) = eve.read("fetch_trials", query={"name": "t"})
            assert trial["metrics"]["loss"]["count"] == 3
