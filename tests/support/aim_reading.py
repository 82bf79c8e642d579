"""Reads an Aim repository with Aim; a program of its own, since Aim starts threads and emits warnings.

``python aim_reading.py REPO`` prints the runs as JSON, by their hash.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import aim
from aim.sdk.index_manager import RepoIndexManager
from aim.storage.context import Context

__all__ = ["main"]


def _series(run: Any) -> list[dict[str, Any]]:
    getters = {"metric": run.get_metric, "distributions": run.get_distribution_sequence}
    found = []
    for kind, entries in run.collect_sequence_info(tuple(getters)).items():
        for entry in entries:
            steps, (values, *_) = getters[kind](entry["name"], Context(entry["context"])).data.items_list()
            if kind == "distributions":
                values = [
                    {"counted": int(each.weights.sum()), "range": list(each.range), "bins": each.bin_count}
                    for each in values
                ]
            points = dict(zip(map(str, steps), values, strict=True))
            found.append({"kind": kind, "name": entry["name"], "context": entry["context"], "points": points})
    return found


def main(folder: str) -> None:
    """Print the runs."""
    repo = aim.Repo(folder)
    hashes = repo.list_all_runs()
    indexing = RepoIndexManager.get_index_manager(repo)
    for each in hashes:
        indexing.index(each)  # otherwise Aim's own server does that in the background
    runs_by_hash = {}
    for run in map(aim.Repo(folder).get_run, hashes):
        runs_by_hash[run.hash] = {
            "name": run.name,
            "description": run.description,
            "experiment": run.experiment,
            "ended": run.end_time is not None,
            "attributes": run[...],
            "series": _series(run),
        }
    sys.stdout.write(json.dumps(runs_by_hash, default=str))


if __name__ == "__main__":
    main(sys.argv[1])
