"""What every store promises, as one class of tests."""

from __future__ import annotations

from track_server.testing.store_blobs import BlobTests
from track_server.testing.store_changes import ChangeTests
from track_server.testing.store_charts import ChartTests
from track_server.testing.store_deleting import DeletingTests
from track_server.testing.store_documents import DocumentTests
from track_server.testing.store_leases import LeaseTests
from track_server.testing.store_points import PointsTests
from track_server.testing.store_queries import QueryTests
from track_server.testing.store_rejected import RejectedTests
from track_server.testing.store_rewinds import RewindTests
from track_server.testing.store_tables import TableTests
from track_server.testing.store_transactions import TransactionTests

__all__ = ["StoreContract"]


class StoreContract(
    BlobTests,
    ChangeTests,
    ChartTests,
    DeletingTests,
    DocumentTests,
    LeaseTests,
    PointsTests,
    QueryTests,
    RejectedTests,
    RewindTests,
    TableTests,
    TransactionTests,
):
    """A store that passes these tests does what the engine needs of it.

    Use it in a module of tests, once for each backend::

        from track_server.testing import StoreContract
        from track_server.storage.contract import Lease, Points, SessionState

        class TestMyStore(StoreContract):
            points_type = Points
            session_type = SessionState
            lease_type = Lease

            def open_store(self, path):
                return MyStore(path)

    `persistent` is set to False for a backend that loses everything once it is closed; the tests that
    reopen a store are skipped then.
    """
