"""What a logger offers to read back what is stored of its trial."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from track.persistence.protocol import Protocol
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Trial

if TYPE_CHECKING:
    from track.reading.columns import Columns
    from track.reading.plot import Plot
    from track.reading.trials import StoredTrial

__all__ = ["Readable"]


class Readable(ABC):
    """Part of `track.logger.TrialLogger`; each call reads everything that was logged before it.

    Attributes:
        protocol: where the trial is stored.
    """

    protocol: Protocol

    @abstractmethod
    def ensure(self) -> Trial:
        """The trial, stored now if it was not yet."""

    def stored(self) -> StoredTrial:
        """The trial as it is stored now.

        Raises:
            ItemNotFound: it is not there any more.
        """
        # Deferred: most trainings read nothing.
        from track.reading.trials import StoredTrial

        trial = self.ensure()
        found = self.protocol.current_trial(trial)
        if found is None:
            raise ItemNotFound(f"trial {trial.uid} is not in the store any more: it was deleted")
        return StoredTrial.of(found, self.protocol)

    def history(self, *names: str, context: Mapping[str, Any] | None = None, kind: str = "metric") -> Columns:
        """See `StoredTrial.history`."""
        return self.stored().history(*names, context=context, kind=kind)

    def to_frame(self, *names: str, library: str | None = None) -> Any:
        """See `StoredTrial.to_frame`."""
        return self.stored().to_frame(*names, library=library)

    def plot(self, *names: str, context: Mapping[str, Any] | None = None, x: str = "step") -> Plot:
        """See `StoredTrial.plot`."""
        return self.stored().plot(*names, context=context, x=x)

    def _repr_html_(self) -> str:
        return self.stored()._repr_html_()
