"""The configurations of the providers that come with this package."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AimConfig", "ConsoleConfig", "NullConfig", "Ranks", "TrackConfig"]

Ranks = Literal["first", "all"]
"""Which ranks of a distributed job log: rank 0 alone, or each into the same run."""


class _Config(BaseModel):
    # A misspelt setting must not look as if it held.
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrackConfig(_Config):
    """Runs are trials in a store of our own.

    Attributes:
        uri: of the store: ``socket://…``, ``sqlite:…``, …; left out of the repr, since it may hold a token.
        project: of the trials; without one they go to ``orphan``.
        group: of the trials, within the project.
        tags: of the trials.
        ranks: which ranks log. ``all`` needs ``torch.distributed`` and a store that processes share.
        rewind: when a run continues, points of steps behind that of the loaded state leave their series and
            are stored as superseded.
    """

    provider: Literal["track"] = "track"
    uri: str = Field(repr=False, min_length=1)
    project: str | None = None
    group: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    ranks: Ranks = "first"
    rewind: bool = True


class AimConfig(_Config):
    """Runs are those of Aim; rank 0 logs.

    Attributes:
        repo: folder that holds the ``.aim`` repository, or the address of an Aim server; Aim makes the
            repository if there is none.
        experiment: of the runs.
        system_tracking_interval: seconds between two checks of processor and memory; None for never.
        log_system_params: whether Aim also stores packages, environment variables and git remotes, which may
            be private.
        capture_terminal_logs: whether Aim also stores what the program prints.
    """

    provider: Literal["aim"] = "aim"
    repo: str = "."
    experiment: str | None = None
    system_tracking_interval: float | None = Field(default=None, gt=0)
    log_system_params: bool = False
    capture_terminal_logs: bool = False


class ConsoleConfig(_Config):
    """Rank 0 writes logged values as text for people.

    Attributes:
        to: standard output, standard error, or the logger ``track.provider`` at level INFO.
    """

    provider: Literal["console"] = "console"
    to: Literal["stdout", "stderr", "log"] = "stdout"


class NullConfig(_Config):
    """Logged values are dropped."""

    provider: Literal["null"] = "null"
