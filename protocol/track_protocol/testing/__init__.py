"""Suites that a backend passes before it is one: for the authors of backends, run by pytest."""

from __future__ import annotations

import pkgutil

import pytest

# Before the suites are imported, so that a failing assert in them shows its values.
pytest.register_assert_rewrite(*(part.name for part in pkgutil.iter_modules(__path__, f"{__name__}.")))

from track_protocol.testing.backend_contract import BackendContract  # noqa: E402 -- see above
from track_protocol.testing.store_contract import StoreContract  # noqa: E402

__all__ = ["BackendContract", "StoreContract"]
