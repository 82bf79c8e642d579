"""``track.config`` and ``track.summary``: values by name, which are stored as they are set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, cast

from track.logger import TrialLogger
from track.recording.parameters import Arguments, as_mapping
from track_protocol.errors import BadArguments

__all__ = ["Config", "Forwarded", "Summary", "Values"]


class Values(MutableMapping[str, Any]):
    """Values by name, also as attributes: ``config.lr`` and ``config["lr"]`` are the same.

    Args:
        known: those that there are already.
    """

    _known: dict[str, Any]

    def __init__(self, known: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_known", dict(known))

    @abstractmethod
    def _store(self, values: dict[str, Any]) -> None:
        """Store values; those of names that are known replace them."""

    def __getitem__(self, name: str) -> Any:
        return self._known[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._store({name: value})

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name!r} is stored and stays: set it to None instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no value {name!r}: it has {', '.join(self)}"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.as_dict()!r})"

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self)


class Config(Values):
    """The parameters of a run.

    Those that ``init`` was given are part of the trial's identity; those that are set later are only stored.

    Args:
        logger: of the trial.
        known: those that ``init`` was given, as the script gave them.
    """

    _logger: TrialLogger

    def __init__(self, logger: TrialLogger, known: Mapping[str, Any]) -> None:
        super().__init__(known)
        object.__setattr__(self, "_logger", logger)

    def _store(self, values: dict[str, Any]) -> None:
        self.update(values)

    def update(self, values: Arguments = None, /, allow_val_change: bool | None = None, **named: Any) -> None:
        """Set several.

        A value that there is already stays, and the trial gets an error that says so, unless
        `allow_val_change`.

        Args:
            values: a mapping, a namespace, or a parser.
            allow_val_change: replace values.
            named: more of them.
        """
        try:
            given = {**as_mapping(values), **named}
        except BadArguments:
            # What cannot be understood is counted there, and ends no training.
            self._logger.log_arguments(values)
            given = named
        if given:
            # Where there is nothing to replace, a parameter may be called force.
            replaces = allow_val_change and given.keys() & self._logger.trial.parameters.keys()
            self._logger.log_arguments(given, **({"force": True} if replaces else {}))
        unchanged = (
            {} if allow_val_change else {name: self._known[name] for name in given if name in self._known}
        )
        self._known.update(given | unchanged)

    def setdefaults(self, values: Arguments) -> None:
        """Set those that are not set yet."""
        self.update({name: value for name, value in as_mapping(values).items() if name not in self})


class Summary(Values):
    """Values for the whole run, such as its best accuracy: ``track.summary["best"] = 0.9``.

    Reading finds the last value of each metric, too.  What is set is stored as ``metadata["summary"]``.

    Args:
        logger: of the trial.
        known: what was set before.
        last: gives the last value of each metric.
    """

    _logger: TrialLogger
    _last: Callable[[], Mapping[str, Any]]

    def __init__(
        self, logger: TrialLogger, known: Mapping[str, Any], last: Callable[[], Mapping[str, Any]]
    ) -> None:
        super().__init__(known)
        object.__setattr__(self, "_logger", logger)
        object.__setattr__(self, "_last", last)

    def __getitem__(self, name: str) -> Any:
        return self._known[name] if name in self._known else self._last()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._last(), **self._known})

    def __len__(self) -> int:
        return len({**self._last(), **self._known})

    def __delitem__(self, name: str) -> None:
        del self._known[name]
        self._store({})

    def _store(self, values: dict[str, Any]) -> None:
        self._known.update(values)
        self._logger.log_metadata(summary=dict(self._known))

    def update(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> None:  # type: ignore[override]  # one call for all
        """Set several; what is no mapping is counted as dropped, and ends no training."""
        if values is not None and not isinstance(values, Mapping):
            self._logger.log_metadata(values)
            values = None
        self._store({**(values or {}), **named})


class Forwarded(MutableMapping[str, Any]):
    """The values of the current run, or of the last one; setting one without either begins a run.

    Args:
        known: gives those that there are; None before the first run.
        begun: gives those of a run that begins if there is none.
    """

    _get: Callable[[], Values | None]
    _begun: Callable[[], Values]

    def __init__(self, known: Callable[[], Values | None], begun: Callable[[], Values]) -> None:
        object.__setattr__(self, "_get", known)
        object.__setattr__(self, "_begun", begun)

    def _read(self) -> Mapping[str, Any]:
        # Reading begins no run: notebooks and debuggers look at every object.
        values = self._get()
        return {} if values is None else values

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._begun()[name] = value

    def __delitem__(self, name: str) -> None:
        del self._begun()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __getattr__(self, name: str) -> Any:
        values = self._get()
        if values is None or name.startswith("_"):
            raise AttributeError(f"there is no value {name!r}: call track.init first")
        return getattr(values, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._begun()[name] = value

    def __repr__(self) -> str:
        return repr(self._get())

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return dict(self)

    def update(self, *given: Any, **named: Any) -> None:
        """See `Config.update` and `Summary.update`."""
        cast(Any, self._begun()).update(*given, **named)
