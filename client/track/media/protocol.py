"""The calls of the storage contract that are about media, through an outbox."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from track.media import media_of
from track.media.blobs import BlobSender
from track.media.reading import MediaSeries
from track.outbox.records import plain_step
from track.persistence.protocol import Protocol
from track.persistence.series import Fetch, fetch_series
from track_protocol.errors import BadArguments
from track_protocol.model.entities import Trial
from track_protocol.model.seriesname import SeriesName, check_series_name

if TYPE_CHECKING:
    from track.outbox import Outbox

__all__ = ["OutboxMedia", "key_of"]


def key_of(trial: Trial) -> bytes | str:
    """How calls name a trial: by its id, or else by its uid."""
    return trial.uid if trial.id is None else trial.id


class OutboxMedia(Protocol, ABC):
    """Part of `track.persistence.remote.OutboxProtocol`.

    Args:
        uri: of the store.
        outbox: what carries the calls.
    """

    def __init__(self, uri: str, outbox: Outbox) -> None:
        super().__init__(uri)
        self.outbox = outbox
        self._blobs = BlobSender(outbox.log, lambda: outbox.drops)

    def _ask(self, method: str, **arguments: Any) -> Any:
        return self.outbox.call(method, arguments)

    @abstractmethod
    def _pages(self, trial: bytes | str) -> Fetch:
        """What fetches pages of a trial's series."""

    def log_trial_media(
        self,
        trial: Trial,
        kind: str,
        name: str,
        value: Any,
        step: Any = None,
        context: Mapping[str, Any] | None = None,
        *,
        at: float | None = None,
        **options: Any,
    ) -> None:
        """See `Protocol.log_trial_media`."""
        try:
            media = media_of(kind, value, **options)
            series = check_series_name(SeriesName(name, context).text, kind)
            logged = time.time() if at is None else at
            arguments = {"kind": kind, "name": series, "step": plain_step(step), "time": logged}
        except BadArguments as error:
            self.outbox.drops.drop(1, str(error), key_of(trial))
            return
        why = self._blobs.send(media)
        if why is None:
            value = dict(media.document)
            self.outbox.log("log_trial_media", {"trial": key_of(trial), **arguments, "value": value})
        else:
            self.outbox.drops.drop(1, f"{kind} {series}: {why}", key_of(trial))

    def fetch_media(
        self, trial: Trial, kind: str, name: str | None = None, context: Mapping[str, Any] | None = None
    ) -> Any:
        """See `Protocol.fetch_media`; a `MediaSeries`, or those of all names."""
        if name is not None:
            series = SeriesName(name, context).text
            found = fetch_series(self._pages(key_of(trial)), series, kind)
            return MediaSeries(kind, series, found.steps, found.times, found.values, self.fetch_blob)
        stored = self.get_trial(trial)
        names = stored[0].media.get(kind, {}) if stored else {}
        return {each: self.fetch_media(trial, kind, each) for each in names}

    def fetch_blob(self, digest: str) -> Iterator[bytes]:
        """See `Protocol.fetch_blob`."""
        offset = 0
        while page := self._ask("fetch_blob", digest=digest, offset=offset):
            yield page
            offset += len(page)
