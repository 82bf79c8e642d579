"""Training processes whose own disk fails: what no warning was about is stored once, and they continue.

The server's disk is that of `test_io_faults`.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pytest

import faulty_spool
import torture_durability
from faulty_spool import FAULTS
from killed_clients import KilledClients, sync
from running_server import ServerProcess
from torture import count, dice, say
from track_protocol.wire.roles import Role
from unprotected_client import without
from waiting import wait_until
from written_series import Verdict, stored_series, verdict

pytestmark = pytest.mark.timeout(3600)

_CALLS = 50
"""Log calls that have to count after the last fault."""

_LATEST = {"open": 5}
"""The latest call that fails first: few files are opened, and much is written."""

_TOGETHER = 10

PROGRAM = torture_durability.__file__

Plan = tuple[str, int, int]
"""A fault, the first call that fails, and how many do."""


def plans(dice: random.Random) -> list[Plan]:
    """Each fault at its first call, which is while the spool is made, or at a later one."""
    return [
        (fault, dice.choice([1, dice.randint(2, _LATEST.get(fault, 40))]), dice.choice([1, 3]))
        for fault in FAULTS
        for _ in range(count(1, 30))
    ]


class RestartableServer:
    """A server that leaves and comes back to its port, with one writer.

    Args:
        folder: for its home and its store.
        spool_sync: for those who join.
    """

    def __init__(self, folder: Path, spool_sync: str) -> None:
        self.store = f"sqlite:{folder}/runs.db"
        self._home = folder / "home"
        self._server = ServerProcess(self.store, self._home)
        self.uri = f"{self._server.served.join('faulty', Role.WRITER)}&spool_sync={spool_sync}"

    def leave(self) -> None:
        """From now on the server is unreachable."""
        self._server.kill()

    def come_back(self) -> None:
        """Serve again."""
        self._server = ServerProcess(self.store, self._home, port=self._server.served.port)

    def __enter__(self) -> RestartableServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__()


def endured(
    tmp_path: Path, plans: Sequence[Plan], spool_sync: str, *, kill: bool, program: Sequence[str] = ()
) -> Verdict:
    """What became of what processes logged whose disks fail as planned while their server is unreachable."""
    confirmed: dict[str, int] = {}
    with RestartableServer(tmp_path, spool_sync) as site:
        for first in range(0, len(plans), _TOGETHER):
            part = {
                tmp_path / f"client-{first + n}": plan for n, plan in enumerate(plans[first:][:_TOGETHER])
            }
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(
                        KilledClients(
                            site.uri,
                            folder,
                            [folder.name],
                            program=(*program, faulty_spool.__file__, *map(str, plan), PROGRAM),
                        )
                    )
                    for folder, plan in part.items()
                ]
                for client in clients:
                    client.await_logging()
                site.leave()
                for folder, plan in part.items():
                    _await_faults(folder, plan)
                for client in clients:
                    client.await_logging(_CALLS)
                if kill:
                    ended = [client.kill() for client in clients]
                    site.come_back()
                    for folder in part:
                        sync(folder / "spool", site.uri)
                else:
                    site.come_back()
                    for client in clients:
                        client.signal(signal.SIGTERM)
                    ended = [client.wait() for client in clients]
                for each in ended:
                    confirmed |= each
    assert [list(spool.iterdir()) for spool in tmp_path.glob("client-*/spool")] == [[]] * len(plans)
    return verdict(confirmed, stored_series(site.store))


def _await_faults(folder: Path, plan: Plan) -> None:
    def all_came() -> bool:
        return sum(path.stat().st_size for path in folder.glob("faults-*")) == plan[2]

    wait_until(all_came, f"{plan} in {folder}", 60.0)


@pytest.mark.parametrize(
    ("spool_sync", "kill"),
    [
        pytest.param("always", True, id="always, killed"),
        pytest.param("interval", False, id="interval, server back"),
        pytest.param("always", False, id="always, server back", marks=pytest.mark.torture),
        pytest.param("interval", True, id="interval, killed", marks=pytest.mark.torture),
    ],
)
def test_what_no_warning_was_about_is_stored_once_though_the_disk_failed(
    tmp_path: Path, spool_sync: str, kill: bool
) -> None:
    planned = plans(dice())
    found = endured(tmp_path, planned, spool_sync, kill=kill)
    end = "killed" if kill else "server back"
    say(f"{len(planned)} faults of clients' disks, spool_sync={spool_sync}, {end}: {found}")
    assert found.clean
    assert found.acknowledged > _CALLS * len(planned)


def test_what_a_failed_flush_has_dropped_is_lost_unless_it_is_written_again(tmp_path: Path) -> None:
    # The protection removed: `DiskQueue._failed` unmarks nothing.
    planned = [("flush", at, 1) for at in (6, 8, 10)]
    with pytest.raises(AssertionError, match=r"log calls lost|cannot be sent|damaged"):
        endured(tmp_path, planned, "interval", kill=True, program=without("writing-again"))
