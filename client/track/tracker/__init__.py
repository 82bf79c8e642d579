"""Experiments, runs and records: ``from track.tracker import Tracker``."""

from __future__ import annotations

from track.tracker.comp_graph import _build_graph_data, build_graph_data
from track.tracker.experiment_db import ExperimentDBManager
from track.tracker.records import RecordInfo, RunInfo
from track.tracker.tracker import NoActiveRun, RunFailed, Tracker

__all__ = [
    "ExperimentDBManager",
    "NoActiveRun",
    "RecordInfo",
    "RunFailed",
    "RunInfo",
    "Tracker",
    "_build_graph_data",
    "build_graph_data",
]
