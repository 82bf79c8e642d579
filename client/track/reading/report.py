"""A report of some trials: one file of HTML with charts and tables, which opens without a server.

The page's script and style come from the board's build.  Everything that people or programs have written is
in a block of JSON, which a browser never runs; the page's policy lets nothing but its own script run.
"""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

from track.persistence.protocol import Protocol
from track.persistence.series import SeriesMapping
from track_protocol.model.entities import Trial

__all__ = ["report_document", "report_page"]

_WIDTH: Final = 240
"""Columns of a series."""

_AT_ONCE: Final = 500
"""Series that are fetched by one call."""

_SCALARS: Final = ("axis", "exact", "count", "total")
_STATISTICS: Final = ("count", "last", "min", "max", "mean")

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-{script_hash}'; \
style-src 'sha256-{style_hash}'; img-src blob: data:; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div id="report"></div>
<script type="application/json" id="report-data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def report_document(
    protocol: Protocol, trials: Sequence[Trial], *, title: str, store: str, left_out: int = 0
) -> dict[str, Any]:
    """What a report contains.

    Args:
        protocol: the store.
        trials: the trials, in the order in which they are listed.
        title: of the report.
        store: its URI without secrets.
        left_out: how many more match.
    """
    wanted = [
        (trial.id, kind, name)
        for trial in trials
        if trial.id is not None
        for kind, known in (("metric", trial.metrics), ("chrono", trial.chronos))
        for name in known
    ]
    series = []
    for at in range(0, len(wanted), _AT_ONCE):
        some = wanted[at : at + _AT_ONCE]
        for (id, kind, name), found in zip(some, protocol.fetch_columns(some, width=_WIDTH), strict=True):
            if found is not None and "error" not in found:
                series.append({"run": id.hex(), "kind": kind, "name": name, **_series(found)})
    return {
        "title": title,
        "store": store,
        "time": time.time(),
        "left_out": left_out,
        "runs": [_run(trial) for trial in trials if trial.id is not None],
        "series": series,
    }


def _run(trial: Trial) -> dict[str, Any]:
    assert trial.id is not None
    summary = trial.metrics.summary if isinstance(trial.metrics, SeriesMapping) else lambda _name: {}
    return {
        "id": trial.id.hex(),
        "name": trial.name or trial.uid[:12],
        "status": "" if trial.status is None else trial.status.name,
        "colour": trial.metadata.get("colour"),
        "started": trial.started,
        "ended": trial.ended,
        "notes": trial.description,
        "tags": trial.tags,
        "parameters": trial.parameters,
        "metrics": {name: {each: summary(name).get(each) for each in _STATISTICS} for name in trial.metrics},
    }


def _series(found: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a series; an array that equals another one is its name behind an equals sign."""
    first: dict[bytes, str] = {}
    arrays = {}
    for name, data in found.items():
        if isinstance(data, bytes):
            same = first.setdefault(data, name)
            arrays[name] = b64encode(data).decode() if same == name else f"={same}"
    return {**{name: found[name] for name in _SCALARS}, "arrays": arrays}


def report_page(document: Mapping[str, Any], script: str, style: str) -> str:
    """The file.

    Args:
        document: see `report_document`.
        script, style: of the board's build.
    """
    # What ends the block, or opens a comment in it, is escaped as JSON allows.
    data = json.dumps(_plain(document), ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return _PAGE.format(
        title=escape(document["title"]),
        script_hash=_hash(script),
        style_hash=_hash(style),
        style=style,
        data=data,
        script=script,
    )


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def _plain(value: Any) -> Any:
    """A value as JSON can say it: what is not finite is a text, as in the board's interface."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
