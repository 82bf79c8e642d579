"""Who may have a store open: one server alone, or any number of programs without one.

A server notices whose processes have disappeared by who is connected to it; beside another server, or
programs that come without one, it would take running trials for lost.  The lock belongs to a connection, so
that it goes with the process.  What is stored does not depend on it: whoever writes holds the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from track_protocol.errors import StoreConflict, StoreInUse
from track_server.storage.postgres.connection import PostgresConnection

__all__ = ["Claim"]

_CLASS: Final = 0x5472616B
"""Marks locks as ours: "Trak"."""

_SCHEMA: Final = "(SELECT oid::bigint FROM pg_namespace WHERE nspname = current_schema())"
_LOCKS: Final = {
    True: f"SELECT pg_advisory_lock(({_CLASS}::bigint << 32) + {_SCHEMA})",
    False: f"SELECT pg_advisory_lock_shared(({_CLASS}::bigint << 32) + {_SCHEMA})",
}
_PATIENCE: Final = "SELECT set_config('lock_timeout', '5s', false)"
"""A process that was killed may hold its lock until the database has noticed."""

_NAME: Final = "SELECT set_config('application_name', ?, false)"
_HOLDERS: Final = f"""
SELECT DISTINCT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = {_CLASS} AND pg_locks.database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
) AND objid::bigint = {_SCHEMA}
"""  # noqa: S608 # all ours


class Claim:
    """The lock of an open store.

    Args:
        connect: makes a connection.
        exclusive: for a server, beside which nobody else opens the store.
        served_as: where others can reach this server, for the message that they get.

    Raises:
        StoreInUse: a server has it open, or (for a server) anybody has.
    """

    def __init__(
        self, connect: Callable[[], PostgresConnection], exclusive: bool, served_as: str | None
    ) -> None:
        self._connect = connect
        self._exclusive = exclusive
        self._name = served_as or "a program"
        self._db = self._taken()

    def _taken(self) -> PostgresConnection:
        db = self._connect()
        try:
            try:
                db.run((_NAME, [self._name]), (_PATIENCE, ()), (_LOCKS[self._exclusive], ()))
            except StoreConflict as error:
                ((rows, _),) = db.run((_HOLDERS, ()))
                holders = ", ".join(sorted(str(name) for (name,) in rows)) or "another process"
                raise StoreInUse(
                    f"{db.name} is open already, by {holders}: connect to that server, or stop it"
                ) from error
        except BaseException:
            db.close()
            raise
        return db

    def check(self) -> None:
        """Check that the lock is still there.

        Raises:
            StoreUnavailable: its connection has ended; `renew` it.
        """
        self._db.run(("SELECT 1", ()))

    def renew(self) -> None:
        """Take the lock again, on a new connection.

        Raises:
            StoreInUse: somebody else has it meanwhile.
        """
        self._db.close()
        self._db = self._taken()

    def release(self) -> None:
        """Give it back; harmless when repeated."""
        self._db.close()
