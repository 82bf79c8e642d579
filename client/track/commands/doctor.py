"""``track doctor [URI]``: what is wrong here, and what to do about it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Final

from track.configuration import environment
from track.diagnosis import Finding, examine
from track_protocol.command import Command

__all__ = ["COMMAND"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", nargs="?", metavar="URI", help="the server to look at (default: $TRACK_URI)")
    parser.add_argument("--json", action="store_true", help="for a machine to read")


def _run(arguments: argparse.Namespace) -> int:
    findings = []
    for finding in examine(arguments.uri, environment()):
        findings.append(finding)
        if not arguments.json:
            sys.stdout.writelines(_lines(finding))
            sys.stdout.flush()
    wrong = sum(not finding.is_well for finding in findings)
    if arguments.json:
        told = [asdict(finding) | {"well": finding.is_well} for finding in findings]
        sys.stdout.write(json.dumps({"well": not wrong, "findings": told}) + "\n")
    else:
        sys.stdout.write("all is well\n" if not wrong else f"{wrong} to be looked after\n")
    return 1 if wrong else 0


def _lines(finding: Finding) -> list[str]:
    mark = "ok  " if finding.is_well else "FAIL"
    lines = [f"{mark}  {finding.topic:<11}  {finding.text}\n"]
    if finding.remedy is not None:
        lines.append(f"{'':<19}→ {finding.remedy}\n")
    return lines


COMMAND: Final = Command(
    help="explain what is wrong with spools, settings and the way to the server, and what mends it",
    configure=_configure,
    run=_run,
)
