"""What holds for every test: nothing of the person who runs it is read or written."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from postgres_server import PROGRAMS, PostgresServer
from torture import FULL
from track.persistence import registry

# Hundreds of processes are started, and each would compile all that it imports: with the compiled files
# kept, a server starts in half the time. The first line is for this process, the second for its children.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell starts what it leaves in the background with Ctrl-C ignored; the programs of tests would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Busy cores make single examples slow without anything being wrong; the timeout of the test still holds.
settings.register_profile("track", deadline=None, max_examples=100)
settings.load_profile("track")


_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it are made by pytest, for this user only
_ROOM_BYTES = 2 << 30
"""More than a whole run leaves there."""


def pytest_configure(config: pytest.Config) -> None:
    """Have tests write into memory, where there is room: a commit there takes microseconds, on a disk 8 ms.

    Nothing is proved less: what a power cut leaves is tested by recording which bytes were synced when, and
    the death of a process loses nothing of what it has written, on a disk or in memory.  ``--basetemp`` is
    for another folder.
    """
    if config.option.basetemp is None and "PYTEST_DEBUG_TEMPROOT" not in os.environ and _has_room(_MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(_MEMORY)
    gc.disable()


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= _ROOM_BYTES


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage only behind the collection of tests, and never look at what it made again.

    It makes hundreds of thousands of objects that live to the end: looking at them time and again takes a
    quarter of the time of the collection, in each worker.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers for each core: a test waits for processes, sockets and timers half of its time."""
    return max(2, min(12, len(os.sched_getaffinity(0)) * 2))


_LONGEST = ("test_distributed_training.py", "test_demo.py")
"""Files with tests of half a minute."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave the tests that are marked ``torture`` to `make torture`."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)
    if FULL:
        return
    left_out = [item for item in items if item.get_closest_marker("torture")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


_FOLDERS = {
    "HOME": "",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_RUNTIME_DIR": "runtime",
    "XDG_STATE_HOME": ".local/state",
}


@pytest.fixture(scope="session", autouse=True)
def a_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty home folder, and none of the caller's ``TRACK_*`` settings; processes inherit both.

    What is known of a run depends on the machine, and asks git: the tests of that turn it on.  So do those of
    the line that a run prints at its start.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TRACK_")]:
            patch.delenv(name)
        patch.setenv("TRACK_CAPTURE", "0")
        patch.setenv("TRACK_QUIET", "1")
        for name, folder in _FOLDERS.items():
            (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            patch.setenv(name, str(home / folder))
        yield


@pytest.fixture
def own_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is unknown to the next one."""
    monkeypatch.setattr(registry, "_MAKERS", dict(registry._MAKERS))


@pytest.fixture
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client remembers, and what servers leave for it, is one test's own: ports come back."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for the tests of one worker."""
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed: its package is called postgresql")
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def postgres_schemas(postgres: PostgresServer) -> Iterator[Callable[[object], str]]:
    """Gives the URI of the store that a name stands for, in a schema of its own."""
    schemas: dict[object, str] = {}

    def uri_of(name: object) -> str:
        return postgres.uri(schemas.setdefault(name, f"t{secrets.token_hex(8)}"))

    yield uri_of
    for schema in schemas.values():
        postgres.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@pytest.fixture
def postgres_uri(postgres_schemas: Callable[[object], str]) -> str:
    """The URI of a store that is not there yet."""
    return postgres_schemas("store")
