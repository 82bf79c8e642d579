"""The interface of a provider: a tracker, and the runs that it opens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, Field, field_validator

from track.recording.parameters import fields_of

__all__ = ["BaseTracker", "BaseTrackerRun", "RunConfig", "TConfig"]

TConfig = TypeVar("TConfig", bound=BaseModel)
"""The configuration of one provider."""


class RunConfig(BaseModel):
    """The name, description and hyper-parameters of a run.

    Attributes:
        name: for people; need not be unique.
        description: in free text.
        hparams: the hyper-parameters, logged when the run starts: a mapping, a namespace, a data class or a
            model of pydantic.  Keys that are no text become text.
    """

    name: str
    description: str | None = None
    hparams: dict[str, Any] = Field(default_factory=dict)

    @field_validator("hparams", mode="before")
    @classmethod
    def _as_mapping(cls, given: Any) -> Any:
        fields = fields_of(given)
        return given if fields is None else fields


class BaseTrackerRun(ABC):
    """One run while it is open.

    A label of one call takes the place of a global one of the same name, for that call.
    """

    @abstractmethod
    def set_step(self, step: int) -> None:
        """Say which step the values to come belong to.

        Args:
            step: such as the iteration's number; 0 is a step.
        """

    @abstractmethod
    def set_context(self, context: Mapping[str, str]) -> None:
        """Say which labels the values to come carry, in the place of those before.

        Args:
            context: such as ``{"phase": "train"}``; part of what identifies a series.
        """

    @abstractmethod
    def scalar(self, name: str, value: float, context: Mapping[str, str] | None = None) -> None:
        """Log one number.

        Args:
            name: of the metric.
            value: a number, or an array or tensor of one element.
            context: labels of this value only, merged over the global ones.
        """

    @abstractmethod
    def bins(self, name: str, values: Any, context: Mapping[str, str] | None = None) -> None:
        """Log how many numbers are distributed.

        Args:
            name: of the metric.
            values: all of the numbers: a tensor, an array or a sequence of them.
            context: labels of this distribution only, merged over the global ones.
        """


class BaseTracker(ABC, Generic[TConfig]):
    """Opens runs, and records which one is its own.

    It has the methods of PyTorch's ``Stateful``, so that it may be part of a state that
    ``torch.distributed.checkpoint`` saves and loads.
    """

    @classmethod
    @abstractmethod
    def from_config(cls, config: TConfig) -> Self:
        """The tracker that a configuration describes; nothing is opened yet.

        Args:
            config: of this provider.

        Raises:
            ImportError: a package is not installed; the message names the extra that brings it.
        """

    @abstractmethod
    def open(self, properties: RunConfig) -> AbstractContextManager[BaseTrackerRun]:
        """A context manager around the training: a new run, or the one of the state that was loaded.

        An exception that leaves the block ends the run as failed and is raised again.

        Args:
            properties: of the run.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """The state needed to resume the run; the same keys whether there is a run already or not."""

    @abstractmethod
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next `open` resumes the run of this state.

        Args:
            state_dict: a result of `state_dict`, in this process or another one.
        """
