"""What a trial's media are: points whose values are small documents, which may refer to blobs."""

from __future__ import annotations

from typing import Any

from track_protocol.errors import BadValue, ItemNotFound
from track_protocol.model.media import blob_of, check_media
from track_protocol.model.seriesname import check_series_name
from track_protocol.model.steps import as_step
from track_protocol.model.values import normalise
from track_protocol.wire.columns import pack
from track_server.methods import lookup
from track_server.methods.blobs import whole_blob
from track_server.storage.contract import Document, Points
from track_server.storage.unit_of_work import UnitOfWork

__all__ = ["log_trial_media"]


def log_trial_media(
    tx: UnitOfWork, trial: bytes | str, kind: str, name: str, step: Any, time: float, value: Document
) -> None:
    """Append one document to a series of an existing trial.

    Raises:
        BadArguments, BadValue: it is no document of that kind, has no name or step, or the trial would have
            too many series.
        ItemNotFound: there is no such trial, or the blob that the document refers to is not here.
    """
    check_series_name(name, kind)
    document = normalise(value, name)
    check_media(kind, document)
    id = lookup.trial_id(tx, trial)
    if not tx.has_trial(id):
        raise ItemNotFound(f"no trial has the id {lookup.shown(trial)}: create it with new_trial first")
    points = Points(pack([as_step(normalise(step, "step"))]), pack([float(time)]), pack([document]))
    digest = blob_of(document)
    if digest is not None:
        size = whole_blob(tx, digest).size
        if size != document["size"]:
            raise BadValue(f"the blob {digest} has {size:,} bytes, not {document['size']:,} as {name!r} says")
    tx.check_series(id, kind, [name])
    tx.append_points(id, kind, name, None, points)
    if digest is not None:
        tx.use_blob(digest, id)
