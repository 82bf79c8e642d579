"""Media as they read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from track_protocol.errors import BadValue
from track_protocol.model.media import blob_of

__all__ = ["MediaSeries"]


@dataclass(frozen=True, slots=True)
class MediaSeries:
    """One series of media: equally long columns.

    Attributes:
        kind: of the media.
        name: of the series, with its labels.
        steps: None for one without a step.
        times: seconds since the epoch.
        values: the documents, as `track_protocol.model.media` describes them.
    """

    kind: str
    name: str
    steps: Sequence[Any]
    times: Sequence[float]
    values: Sequence[Mapping[str, Any]]
    fetch_blob: Callable[[str], Iterator[bytes]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.times)

    def parts(self, index: int) -> Iterator[bytes]:
        """The content of one of them, in parts that are small enough for any memory.

        Raises:
            BadValue: it has none, as a histogram has: its document is all there is.
            ItemNotFound: the store does not have it.
        """
        value = self.values[index]
        digest = blob_of(value)
        if digest is not None:
            return self.fetch_blob(digest)
        if "text" in value:
            return iter([value["text"].encode()])
        raise BadValue(f"a {self.kind} has no content beside its document: see values[{index}]")

    def content(self, index: int) -> bytes:
        """The content of one of them: a PNG file, a text in UTF-8, JSON, or the bytes of a file.

        Raises:
            BadValue, ItemNotFound: as `parts`.
        """
        return b"".join(self.parts(index))
