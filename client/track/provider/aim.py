"""Runs in a repository of Aim."""

from __future__ import annotations

import logging
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from track.provider.base import BaseTracker, BaseTrackerRun, RunConfig
from track.provider.configs import AimConfig
from track.provider.null import NullRun
from track.provider.ranks import is_first
from track.provider.series import LabelledRun, numbers
from track.recording.parameters import storable
from track_protocol.errors import ItemNotFound, MissingExtra
from track_protocol.security.tokens import redact_tokens

__all__ = ["AimRun", "AimTracker"]

_log: Final = logging.getLogger("track.provider")


class AimRun(LabelledRun):
    """Logs into one run of Aim.

    Args:
        aim: the package.
        run: an ``aim.Run`` that is open.
    """

    def __init__(self, aim: Any, run: Any) -> None:
        super().__init__()
        self.run = run
        self._aim = aim

    def write_scalar(self, name: str, value: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_scalar`."""
        self._track(name, lambda: float(value), labels)

    def write_bins(self, name: str, values: Any, labels: dict[str, str]) -> None:
        """See `LabelledRun.write_bins`; numbers that are not finite have no place in Aim's distributions."""
        self._track(name, lambda: self._distribution(values), labels)

    def _distribution(self, values: Any) -> Any:
        finite = [value for value in numbers(values) if math.isfinite(value)]
        if not finite:
            raise ValueError("no number of the distribution is finite")
        return self._aim.Distribution(finite)

    def _track(self, name: str, value: Callable[[], Any], labels: dict[str, str]) -> None:
        try:
            context = {redact_tokens(key): redact_tokens(label) for key, label in labels.items()}
            self.run.track(value(), name=redact_tokens(name), step=self.step, context=context)
        except Exception as error:  # noqa: BLE001 - Aim raises what it likes, and training must continue
            self.complain(name, error)


class AimTracker(BaseTracker[AimConfig]):
    """Opens runs of Aim; its state is the run's hash.

    Args:
        aim: the package.
        config: where the runs are stored.
    """

    def __init__(self, aim: Any, config: AimConfig) -> None:
        self._aim = aim
        self._config = config
        self._hash: str | None = None
        self._resumes = False

    @classmethod
    def from_config(cls, config: AimConfig) -> Self:
        """See `BaseTracker.from_config`."""
        try:
            import aim
        except ImportError as error:
            raise MissingExtra(
                f"the provider aim logs with the package aim, which is not installed: "
                f"pip install 'trackwire[aim]' ({error})"
            ) from error
        return cls(aim, config)

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        """See `BaseTracker.open`.

        Raises:
            ItemNotFound: the run of the loaded state is not in the repository any more.
        """
        if not is_first():
            yield NullRun()
            return
        run = self._opened(self._hash if self._resumes else None)
        self._hash, self._resumes = run.hash, False
        run.name = redact_tokens(properties.name)
        if properties.description is not None:
            run.description = redact_tokens(properties.description)
        run["hparams"] = {**run.get("hparams", {}), **storable(properties.hparams, "hparams")}
        run["status"] = "running"
        try:
            yield AimRun(self._aim, run)
        except BaseException as error:
            text = "".join(traceback.format_exception(error))
            _end(run, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", text)
            raise
        _end(run, "completed")

    def state_dict(self) -> dict[str, Any]:
        """See `BaseTracker.state_dict`; empty on ranks that do not log, so that rank 0's is saved."""
        return {"run_hash": self._hash} if is_first() else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `BaseTracker.load_state_dict`."""
        self._hash = state_dict.get("run_hash") or state_dict.get("restart_hash")
        self._resumes = self._hash is not None

    def _opened(self, known: str | None) -> Any:
        from aim.sdk.errors import MissingRunError

        config = self._config
        try:
            return self._aim.Run(
                run_hash=known,
                repo=config.repo,
                experiment=config.experiment,
                system_tracking_interval=config.system_tracking_interval,
                log_system_params=config.log_system_params,
                capture_terminal_logs=config.capture_terminal_logs,
            )
        except MissingRunError as error:
            raise ItemNotFound(
                f"the loaded state resumes the run {known}, which is not in the Aim repository "
                f"{config.repo}: it was deleted, or repo is another one; begin a new run by leaving the "
                "tracker out of the state that is loaded"
            ) from error


def _end(run: Any, status: str, text: str | None = None) -> None:
    try:
        run["status"] = status
        if text is not None:
            run["error"] = redact_tokens(text)
        run.close()
    except Exception as error:  # noqa: BLE001 - Aim raises what it likes, and must not hide how training ended
        _log.error("aim: the run %s could not be closed: %s", run.hash, error)
