"""What ``track.log`` takes besides numbers, and how each of it is stored."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

from track.api.notices import say_ignored
from track.logger import TrialLogger
from track_protocol.model.media import HISTOGRAM, IMAGE, Media

__all__ = ["Histogram", "Html", "Image", "LoggedMedia", "Table", "Text", "as_media"]

_CHANNELS: Final = (1, 3, 4)
_SIZE: Final = struct.Struct(">II")
_SIZE_AT: Final = 16
"""Where in a PNG file its width and height are."""


class LoggedMedia(ABC):
    """A value that is stored as a medium, and not as a point of a metric."""

    @abstractmethod
    def log_to(self, logger: TrialLogger, name: str, step: Any, context: Mapping[str, Any] | None) -> None:
        """Store it.

        Args:
            logger: of the trial.
            name: of the series.
            step: where in the training it was made.
            context: labels of the series.
        """


class Image(LoggedMedia):
    """An image.

    Args:
        data: pixels as `TrialLogger.log_image` takes them, a tensor with its channels first, a figure of
            matplotlib's, or the path of a file.
        caption: stored as a text of the same name.
        others: what other trackers take too, and what changes nothing here.
    """

    def __init__(self, data: Any, caption: str | None = None, **others: Any) -> None:
        say_ignored("Image", others)
        self.data = data
        self.caption = caption

    def log_to(self, logger: TrialLogger, name: str, step: Any, context: Mapping[str, Any] | None) -> None:
        """See `LoggedMedia.log_to`."""
        if isinstance(self.data, (str, os.PathLike)) and not _is_figure(self.data):
            logger.log_artifact(self.data, name)
        else:
            logger.log_image(name, _pixels(self.data), step, context)
        if self.caption is not None:
            logger.log_text(name, str(self.caption), step, context)


class Histogram(LoggedMedia):
    """How values are distributed.

    Args:
        sequence: the values.
        np_histogram: or their counts and the edges between them, as ``numpy.histogram`` returns them.
        num_bins: how many bins the values are counted in.
    """

    def __init__(
        self,
        sequence: Any = None,
        np_histogram: tuple[Sequence[float], Sequence[float]] | None = None,
        num_bins: int = 64,
    ) -> None:
        self.sequence = sequence
        self.np_histogram = np_histogram
        self.num_bins = num_bins

    def log_to(self, logger: TrialLogger, name: str, step: Any, context: Mapping[str, Any] | None) -> None:
        """See `LoggedMedia.log_to`."""
        if self.np_histogram is None:
            logger.log_histogram(name, self.sequence, step, self.num_bins, context)
        else:
            logger.log_histogram(name, _counted(*self.np_histogram), step, context=context)


class Text(LoggedMedia):
    """A text.

    Args:
        data: it.
        caption: put in front of it.
    """

    def __init__(self, data: Any, caption: str | None = None) -> None:
        self.text = str(data) if caption is None else f"{caption}\n{data}"

    def log_to(self, logger: TrialLogger, name: str, step: Any, context: Mapping[str, Any] | None) -> None:
        """See `LoggedMedia.log_to`."""
        logger.log_text(name, self.text, step, context)


class Html(Text):
    """A page, which is stored as a text.

    Args:
        data: the text of the page, or an open file that has it.
        others: what other trackers take too, and what changes nothing here.
    """

    def __init__(self, data: Any, **others: Any) -> None:
        say_ignored("Html", others)
        super().__init__(data.read() if hasattr(data, "read") else data)


class Table(LoggedMedia):
    """A table, which is stored as a text in JSON: ``{"columns": […], "data": [[…], …]}``.

    Args:
        columns: names of the columns.
        data: rows.
        dataframe: or a frame of pandas, which has both.
        others: what other trackers take too, and what changes nothing here.
    """

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        data: Iterable[Sequence[Any]] | None = None,
        dataframe: Any = None,
        **others: Any,
    ) -> None:
        say_ignored("Table", others)
        if dataframe is not None:
            columns, data = list(dataframe.columns), dataframe.to_numpy().tolist()
        self.columns = [str(name) for name in columns or ()]
        self.data = [list(row) for row in data or ()]

    def add_data(self, *row: Any) -> None:
        """Add a row."""
        self.data.append(list(row))

    def log_to(self, logger: TrialLogger, name: str, step: Any, context: Mapping[str, Any] | None) -> None:
        """See `LoggedMedia.log_to`."""
        table = {"columns": self.columns, "data": self.data}
        logger.log_text(name, json.dumps(table, default=str), step, context)


def as_media(value: Any) -> Sequence[LoggedMedia] | None:
    """The media that a value of a log call is; None when it is the value of a metric.

    Several media may come in a list.  A text is a text, a figure is an image, and an array of more than one
    number is a histogram.
    """
    if isinstance(value, LoggedMedia):
        return [value]
    if isinstance(value, str):
        return [Text(value)]
    if isinstance(value, (list, tuple)):
        several = [each for each in value if isinstance(each, LoggedMedia)]
        return several if several and len(several) == len(value) else None
    if _is_figure(value):
        return [Image(value)]
    return [Histogram(value)] if _is_array(value) else None


def _is_figure(value: Any) -> bool:
    """Whether it is a figure of matplotlib's; the module with the current one will do."""
    return callable(getattr(value, "savefig", None))


def _is_array(value: Any) -> bool:
    shape = getattr(value, "shape", None)
    return isinstance(shape, tuple) and any(side != 1 for side in shape)


def _pixels(data: Any) -> Any:
    if _is_figure(data):
        return _drawn(data.gcf() if callable(getattr(data, "gcf", None)) else data)
    shape: tuple[int, ...] = getattr(data, "shape", ())
    has_channels_first = len(shape) == 3 and shape[0] in _CHANNELS and shape[2] not in _CHANNELS
    if has_channels_first and callable(getattr(data, "permute", None)):
        return data.permute(1, 2, 0)
    return data


def _drawn(figure: Any) -> Media:
    """A figure as matplotlib writes it: PNG with 8 bits for each of red, green, blue and opacity."""
    file = BytesIO()
    figure.savefig(file, format="png")
    content = file.getvalue()
    width, height = _SIZE.unpack_from(content, _SIZE_AT)
    return Media(
        IMAGE,
        {
            "width": width,
            "height": height,
            "channels": 4,
            "format": "png",
            "digest": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        },
        content,
    )


def _counted(counts: Sequence[float], edges: Sequence[float]) -> Media:
    whole = [int(count) for count in counts]
    borders = [float(edge) for edge in edges]
    none = dict.fromkeys(("nan", "posinf", "neginf"), 0)
    ends = {"min": borders[0] if borders else None, "max": borders[-1] if borders else None}
    return Media(HISTOGRAM, {"edges": borders, "counts": whole, "n": sum(whole), **none, **ends})
