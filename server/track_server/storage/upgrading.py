"""Before a store of an older version is migrated: a verified copy of it, beside it."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path

from track_protocol.errors import StoreError, StoreFull
from track_server.storage.admin import Copier, copy_verified

__all__ = ["copied_before_migration"]

_log = logging.getLogger(__name__)


def copied_before_migration(copier: Copier, path: Path, found: int, wanted: int) -> Path:
    """Copy a store that is about to be migrated; nobody may change it meanwhile.

    Args:
        copier: knows that kind of store.
        path: of the store.
        found: its version.
        wanted: the version that it will have.

    Returns:
        the copy, which only its owner may read.

    Raises:
        StoreFull: there is no room for the copy.
        StoreCorrupt: the store is damaged, and a migration might make that worse.
        StoreError: the copy cannot be made for another reason.
    """
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    target = path.with_name(f"{path.name}.v{found}-{moment}.bak")
    unchanged = f"{path} is of version {found} and stays so"
    _log.warning(
        "%s is of version %d: it is copied (%.1f MB) and the copy checked before it is migrated to version "
        "%d; that takes its time if it is large",
        *(path, found, path.stat().st_size / 1e6, wanted),
    )
    try:
        copy_verified(copier, path, target)
    except StoreFull as error:
        raise StoreFull(
            f"{unchanged}: no space is left for the copy of it that is made before it is migrated; free some "
            "on its disk, then open it again"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{unchanged}: no copy of it could be made before it is migrated ({error.strerror}); check the "
            f"disk and the folder {path.parent}"
        ) from error
    _log.warning("migrating %s from version %d to %d; %s is what it was before", path, found, wanted, target)
    return target
