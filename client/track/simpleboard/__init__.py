"""SimpleBoard's HTTP API: the runs of experiments, as its clients ask for them."""

from __future__ import annotations

from track.simpleboard.api import SimpleBoard, Visitor
from track.simpleboard.databases import Databases, FolderDatabases, StoreDatabases

__all__ = ["Databases", "FolderDatabases", "SimpleBoard", "StoreDatabases", "Visitor"]
