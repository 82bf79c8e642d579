"""The contract of every storage protocol, as one class of tests."""

from __future__ import annotations

from track.testing.backend_keeping import KeepingTests
from track.testing.backend_media import MediaTests
from track.testing.backend_queries import QueryTests
from track.testing.backend_series import SeriesTests
from track.testing.backend_tables import TableTests
from track.testing.backend_trials import TrialTests

__all__ = ["BackendContract"]


class BackendContract(KeepingTests, MediaTests, QueryTests, SeriesTests, TableTests, TrialTests):
    """A backend that passes these tests serves any client.

    Use it in a module of tests, once for each backend::

        from track_protocol.testing import BackendContract

        class TestMyOwnBackend(BackendContract):
            def open_protocol(self, path):
                return MyOwnBackend(f"byob:{path}/store")

    `open_protocol` is called with an empty folder, and may be called again with the same one for a
    second client of the same store; set `shared` to False for a backend that has none.
    """
