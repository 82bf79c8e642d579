"""The suite that every storage protocol passes: for the authors of backends, run by pytest."""

from __future__ import annotations

import pkgutil

import pytest

# Before the suite is imported, so that a failing assert in it shows its values.
pytest.register_assert_rewrite(*(part.name for part in pkgutil.iter_modules(__path__, f"{__name__}.")))

from track.testing.backend_contract import BackendContract  # noqa: E402 -- see above

__all__ = ["BackendContract"]
