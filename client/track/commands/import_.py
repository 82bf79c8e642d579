"""``track import PATH…``: experiments of an older system into a store; nothing is doubled when repeated."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from track.commands.printing import add_json, print_json, say
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track.process.progress import Progress
from track.tracker.importing import Imported, import_database
from track.tracker.legacy import LegacyDatabase
from track.tracker.older_track import ImportedDocument, OlderDocument, import_document
from track_protocol.command import Command
from track_protocol.errors import ItemNotFound, StoreError, TrackError, UsageError
from track_protocol.uri import Uri, redact

__all__ = ["COMMAND"]

_URI: Final = "TRACK_URI"


def _configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a database, a JSON document of the older Track, or a folder of them",
    )
    add(
        "--to",
        metavar="URI",
        default=os.environ.get(_URI),
        help=f"the store to import into (default: ${_URI})",
    )
    add(
        "--project",
        metavar="NAME",
        help="project of all runs (default: that of the document, or the name of each file)",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.to is None:
        raise UsageError(f"no target store: give --to URI, or set {_URI}")
    protocol = _opened(arguments.to)
    report: list[dict[str, Any]] = []
    errors: list[TrackError] = []
    try:
        for path in _databases(arguments.paths):
            project = arguments.project or path.stem
            try:
                done = _imported(path, protocol, arguments.project)
            except TrackError as error:
                errors.append(error)
                report.append({"path": str(path), "project": project, "error": str(error)})
            else:
                report.append({"path": str(path), "project": project, "error": None, **asdict(done)})
            if not arguments.json:
                say(f"{_line(report[-1], redact(arguments.to))}\n")
                sys.stdout.flush()
    finally:
        protocol.close()
    if arguments.json:
        print_json({"databases": report})
    return errors[0].exit_code if errors else 0


def _opened(uri: str) -> Protocol:
    """The store; what an interrupted import leaves must not be sent later, beside its repetition."""
    if Uri.parse(uri).scheme == "socket":
        from track.persistence.socketed import SocketClient

        return SocketClient(uri, spools=False)
    return get_protocol(uri)


def _databases(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(each for each in path.iterdir() if _is_older(each))
        if not found:
            raise ItemNotFound(
                f"no file in {path} is a database or a document of an older tracker: name the right folder"
            )
        yield from found


def _is_older(path: Path) -> bool:
    if LegacyDatabase.is_at(path):
        return True
    if path.suffix != ".json" or not OlderDocument.is_at(path):
        return False
    try:
        OlderDocument(path)
    except StoreError:
        return False
    return True


def _imported(path: Path, protocol: Protocol, project: str | None) -> Imported | ImportedDocument:
    with Progress(f"importing {path.name}") as bar:
        if OlderDocument.is_at(path):
            return import_document(OlderDocument(path), protocol, project, bar.show)
        return import_database(LegacyDatabase(path), protocol, project or path.stem, bar.show)


def _line(report: dict[str, Any], uri: str) -> str:
    if report["error"] is not None:
        return f"{report['path']}: not imported: {report['error']}"
    line = (
        f"{report['path']}: {report['runs']:,} runs, {report['new_runs']:,} of them new, "
        f"{report['points']:,} points sent to project {report['project']} in {uri}"
    )
    if report.get("orphans"):
        line += f"; {report['orphans']:,} records of deleted runs were skipped"
    for reason, count in report.get("skipped", {}).items():
        line += f"\n  not taken, {count:,} times: {reason}"
    return line


COMMAND: Final = Command("copy experiments of an older system into a store", _configure, _run)
