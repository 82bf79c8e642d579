"""Helpers of the parts of `BackendContract`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track.persistence.protocol import Protocol
from track_protocol.model.entities import Status, Trial, TrialGroup

__all__ = ["BackendSuite"]


class BackendSuite:
    """Base of the parts."""

    shared = True

    def open_protocol(self, path: Path) -> Protocol:
        """A client of the store in the folder `path`."""
        raise NotImplementedError("a backend's test class overrides open_protocol")

    @pytest.fixture
    def protocol(self, tmp_path: Path) -> Iterator[Protocol]:
        """The backend under test."""
        protocol = self.open_protocol(tmp_path)
        yield protocol
        protocol.close()

    @pytest.fixture
    def second(self, protocol: Protocol, tmp_path: Path) -> Iterator[Protocol]:
        """Another client of the same store."""
        if not self.shared:
            pytest.skip("this backend has no second client")
        second = self.open_protocol(tmp_path)
        yield second
        second.close()

    def _new(self, protocol: Protocol, **definition: Any) -> Trial:
        trial = protocol.new_trial(Trial(**definition))
        assert trial is not None
        return trial

    def _trial(self, protocol: Protocol, trial: Trial) -> Any:
        (found,) = protocol.get_trial(trial) or []
        return found

    def _group(self, protocol: Protocol, group: TrialGroup) -> TrialGroup:
        found = protocol.get_trial_group(group)
        assert found is not None
        return found

    def _points(self, protocol: Protocol, trial: Trial, name: str) -> Any:
        return protocol.fetch_metrics(trial, name)

    def _fill(self, protocol: Protocol) -> None:
        a = self._new(protocol, name="a", parameters={"lr": 0.1, "flat.width": 8})
        b = self._new(protocol, name="b", parameters={"lr": 0.2, "only_b": 1, "flat": {"width": 8}})
        c = self._new(protocol, name="c", parameters={"lr": 0.3}, tags={"team": "x"})
        protocol.set_trial_status(b, Status.Running)
        for trial, loss in ((a, 0.9), (b, 0.5), (c, 0.1)):
            protocol.log_trial_metrics(trial, step=0, loss=loss)
        dotted: dict[str, Any] = {"best.min": 7.0, "best": 8.0}
        protocol.log_trial_metrics(b, step=0, **dotted)
