"""The data model under its documented path, and what this process is working on."""

from __future__ import annotations

from typing import Final

from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup, status

__all__ = [
    "CONTINUED",
    "CustomStatus",
    "Project",
    "Status",
    "Trial",
    "TrialGroup",
    "get_current_project",
    "get_current_trial",
    "set_current_project",
    "set_current_trial",
    "status",
]

CONTINUED: Final = "TRACK_TRIAL"
"""Environment variable that names the trial to resume."""

_project: Project | None = None
_trial: Trial | None = None


def get_current_project() -> Project | None:
    """The project that was set last in this process."""
    return _project


def set_current_project(project: Project | None) -> Project | None:
    """Say which project this process works on; returns it."""
    global _project
    _project = project
    return project


def get_current_trial() -> Trial | None:
    """The trial that was set last in this process."""
    return _trial


def set_current_trial(trial: Trial | None) -> Trial | None:
    """Say which trial this process works on; returns it."""
    global _trial
    _trial = trial
    return trial
