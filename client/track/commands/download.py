"""``track download TRIAL [NAME]``: media and files of a trial, as files.

Names come from whoever logged them, and are never trusted as paths: nothing is written outside of the folder
that was named, and no file is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from track.commands.printing import add_json, print_json, say
from track.commands.stores import add_store, add_trial, opened
from track.persistence.lookup import find_trial
from track.persistence.protocol import Protocol
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound, TrackError
from track_protocol.model.entities import Trial
from track_protocol.model.media import FILE, GRAPH, HISTOGRAM, IMAGE, TEXT
from track_protocol.query.names import suggestion

__all__ = ["COMMAND"]

_ENDINGS: Final = {IMAGE: ".png", TEXT: ".txt", GRAPH: ".json", HISTOGRAM: ".json"}
_MAX_NAME_BYTES: Final = 200
_FORBIDDEN: Final = frozenset('<>:"|?*\\')


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_trial(parser)
    add("names", nargs="*", metavar="NAME", help="of a file or a series of media (default: all)")
    add_store(parser)
    add("--to", type=Path, default=Path(), metavar="DIR", help="where to (default: the current folder)")
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    with opened(arguments.uri) as protocol:
        trial = find_trial(protocol, arguments.trial)
        chosen = _chosen(trial, arguments.names)
        written = [
            path for kind, name in chosen for path in _download(protocol, trial, kind, name, arguments.to)
        ]
    if arguments.json:
        print_json([str(path) for path in written])
    else:
        say("".join(f"{path}\n" for path in written))
    return 0


def _chosen(trial: Trial, names: Sequence[str]) -> list[tuple[str, str]]:
    """Kinds and names of the series that are meant."""
    known = [(kind, str(name)) for kind, series in trial.media.items() for name in series]
    texts = list(dict.fromkeys(name for _, name in known))
    for name in names:
        if name not in texts:
            raise ItemNotFound(
                f"trial {trial.uid} has no file or media {name[:80]!r}: {suggestion(name, texts)}"
            )
    if not known:
        raise ItemNotFound(f"trial {trial.uid} has no files and no media")
    return [(kind, name) for kind, name in known if not names or name in names]


def _download(protocol: Protocol, trial: Trial, kind: str, name: str, folder: Path) -> Iterator[Path]:
    """Write all contents of a series; gives the paths."""
    series = protocol.fetch_media(trial, kind, name)
    for index, label in enumerate(_labels(series.steps)):
        target = _target(folder, kind, name, label)
        document = series.values[index]
        _write(target, [json.dumps(document).encode()] if kind == HISTOGRAM else series.parts(index))
        yield target


def _labels(steps: Sequence[Any]) -> list[str]:
    """What distinguishes the contents of a series: nothing, their steps, or their positions."""
    if len(steps) == 1:
        return [""]
    distinct = all(type(step) is int for step in steps) and len(set(steps)) == len(steps)
    return [f".{step if distinct else place}" for place, step in enumerate(steps)]


def _target(folder: Path, kind: str, name: str, label: str) -> Path:
    """Where a content goes: ``DIR/KIND/NAME``, with a label before the ending."""
    path = folder.joinpath(kind, *_parts(name))
    stem, ending = (path.stem, path.suffix) if kind == FILE else (path.name, _ENDINGS[kind])
    return path.with_name(f"{stem}{label}{ending}")


def _parts(name: str) -> list[str]:
    """The folders and the file of a name, each of which stays in the folder before it."""
    parts = []
    for part in name.split("/"):
        safe = "".join("_" if letter in _FORBIDDEN or not letter.isprintable() else letter for letter in part)
        safe = safe.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        if safe.strip(". "):
            parts.append(safe)
    return parts or ["unnamed"]


def _write(target: Path, parts: Iterable[bytes]) -> None:
    """Write a new file, which is removed again when it cannot be completed.

    Raises:
        TrackError: it exists, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    except FileExistsError:
        raise TrackError(f"{target} exists already: move it, or give another folder with --to") from None
    except OSError as error:
        raise _refused(target, error) from error
    is_complete = False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        is_complete = True
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        if not is_complete:
            target.unlink(missing_ok=True)


def _refused(target: Path, error: OSError) -> TrackError:
    return TrackError(f"{target} cannot be written ({error.strerror}): give another folder with --to")


COMMAND: Final = Command("write the files and media of a trial into a folder", _configure, _run)
