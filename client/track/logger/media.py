"""The log calls of a trial's media: histograms, images, texts, files, and the code that runs."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from track.persistence.protocol import Protocol
from track_protocol.model.entities import Trial
from track_protocol.model.media import FILE, HISTOGRAM, IMAGE, TEXT
from track_protocol.model.values import MAX_NAME_BYTES

__all__ = ["MediaLogger"]

_log: Final = logging.getLogger("track")

_MAX_FILES: Final = 10_000
"""Files of one folder that are logged."""


class MediaLogger(ABC):
    """Part of `track.logger.TrialLogger`.

    None of these calls raises for what it is given: what cannot be stored is dropped with one warning.

    Files are stored once by their content, and are series of the kind ``file``:
    ``protocol.fetch_media(trial, "file", name).content(0)`` is one's content.  Their names never become
    paths, neither here nor on a server.

    Attributes:
        protocol: where the trial is stored.
    """

    protocol: Protocol

    code: Mapping[str, Any] | None = None
    """What `log_code` has found; None before it."""

    @abstractmethod
    def ensure(self) -> Trial:
        """The trial, stored now if it was not yet."""

    @abstractmethod
    def _begin(self) -> Trial:
        """The trial, which runs now if its first point starts it."""

    @abstractmethod
    def _log_call(self, call: Callable[[Trial], None]) -> None:
        """Log something about the trial, which exists by then."""

    @abstractmethod
    def log_metadata(self, /, *given: Any, **kwargs: Any) -> None:
        """Store values with the trial."""

    def log_histogram(
        self,
        name: str,
        values: Any,
        step: Any = None,
        bins: int = 30,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Log how values are distributed.

        Args:
            name: of the series.
            values: an array or a tensor of any shape, nested lists, or a number.  NaN and infinities are
                counted apart.
            step: where in the training they were observed.
            bins: how many bins there are between the least and the greatest of them.
            context: labels of the series.
        """
        self._log(HISTOGRAM, name, values, step, context, bins=bins)

    def log_image(
        self, name: str, image: Any, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Log an image, compressed without a loss.

        Args:
            name: of the series.
            image: an array, a tensor or nested lists of height x width, or height x width x 1, 3 or 4
                channels, as floats from 0 to 1 or integers from 0 to 255; or an image of Pillow's.
            step: where in the training it was made.
            context: labels of the series.
        """
        self._log(IMAGE, name, image, step, context)

    def log_text(
        self, name: str, text: str, step: Any = None, context: Mapping[str, Any] | None = None
    ) -> None:
        """Log a text, of up to 1 GiB in UTF-8.

        Args:
            name: of the series.
            text: it.
            step: where in the training it was made.
            context: labels of the series.
        """
        self._log(TEXT, name, text, step, context)

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Log a file, of up to 1 GiB.

        It is read in parts, so this takes as long as the store (or this machine's disk, while the store is
        unreachable) takes for them, and no memory.

        Args:
            path: of the file, which has to stay as it is meanwhile.
            name: of the series; that of the file unless it is given.
        """
        self._log(FILE, _called(path) if name is None else name, path, None, None)

    def log_file(self, file_name: str | os.PathLike[str]) -> None:
        """Log a file, of up to 1 GiB, under its name without the folders; see `log_artifact`.

        Args:
            file_name: its path, which may be a symbolic link to it.
        """
        self.log_artifact(file_name)

    def log_directory(self, name: str | os.PathLike[str], recursive: bool = False) -> None:
        """Log the files of a folder, each by its path within the folder (``sub/notes.txt``).

        Links to files are followed, links to folders are not.  Of more than 10,000 files the others are
        left out.

        Args:
            name: path of the folder.
            recursive: those of the folders inside, too.
        """
        try:
            folder = Path(os.fsdecode(name))
        except TypeError as error:
            _log.warning("log_directory: %s", error)
            return
        if not folder.is_dir():
            _log.warning("log_directory: %s is not a folder: check the path, or use log_file", folder)
            return
        files = sorted(_files(folder, recursive))
        if len(files) > _MAX_FILES:
            _log.warning(
                "log_directory: %s has %d files, of which %d are logged: pack it into an archive first",
                *(folder, len(files), _MAX_FILES),
            )
        self._log_files(folder, files[:_MAX_FILES])

    def log_code(self) -> Self:
        """Log the source files of the program that runs, and what git says of them.

        They are the executed script and the modules that are loaded by now from the same git
        repository (or, without one, in the script's folder); up to 1 MiB each, 16 MiB altogether.  Each has
        its path from there on as its name, behind ``code/``.  The metadata ``code`` have ``script``; in a
        repository also ``commit``, ``date``, ``dirty`` (whether files were changed since then), and if so
        ``diff``, the SHA-256 of the changes.

        Returns:
            the logger.
        """
        # Deferred: most programs never ask.
        from track.recording.sources import running_sources

        found = running_sources()
        if found is None:
            _log.warning("log_code: no file is executed here, so there is no code to log")
            return self
        for reason in found.left_out:
            _log.warning("log_code: %s", reason)
        self.code = found.description
        self.log_metadata(code=found.description)
        self._log_files(found.root, found.files, "code/")
        return self

    def _log(
        self, kind: str, name: str, value: Any, step: Any, context: Mapping[str, Any] | None, **options: Any
    ) -> None:
        self._begin()
        self._log_call(
            lambda trial: self.protocol.log_trial_media(trial, kind, name, value, step, context, **options)
        )

    def _log_files(self, folder: Path, files: Iterable[Path], prefix: str = "") -> None:
        for file in files:
            self._log(FILE, _series(prefix + file.relative_to(folder).as_posix()), file, None, None)


def _called(path: Any) -> str:
    try:
        return Path(os.fsdecode(path)).name
    except TypeError:
        # A value that is not a path is refused, with a warning, where the file would be read.
        return ""


def _files(folder: Path, recursive: bool) -> Iterable[Path]:
    def complain(error: OSError) -> None:
        _log.warning("log_directory: %s cannot be read: %s", error.filename, error.strerror)

    for parent, folders, names in os.walk(folder, onerror=complain):
        if not recursive:
            folders.clear()
        for name in names:
            path = Path(parent, name)
            # Neither pipes nor sockets, which one could wait for without an end.
            if path.is_file():
                yield path


def _series(name: str) -> str:
    """A name that a series may have: of a long one the end."""
    encoded = name.encode(errors="backslashreplace")
    if len(encoded) > MAX_NAME_BYTES:
        encoded = "…".encode() + encoded[3 - MAX_NAME_BYTES :]
    return encoded.decode(errors="ignore")
