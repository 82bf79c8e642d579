"""Which providers there are: those of this package, of installed ones, and of the program itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel

from track.provider.base import BaseTracker
from track.provider.configs import AimConfig, ConsoleConfig, NullConfig, TrackConfig
from track_protocol.errors import MissingExtra, UsageError

__all__ = ["GROUP", "Provider", "providers", "register_provider", "unusable"]

_log: Final = logging.getLogger("track.provider")

GROUP: Final = "track.providers"
"""Entry-point group; each entry is called as its provider and names a `Provider`."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of tracker.

    Attributes:
        config: its configuration, whose field ``provider`` is a ``Literal`` with its name.
        tracker: ``"module:Class"``, imported when such a tracker is made.
        install: what brings the packages it needs, such as ``pip install 'trackwire[aim]'``.
    """

    config: type[BaseModel]
    tracker: str
    install: str | None = None

    def names(self) -> tuple[str, ...]:
        """What a configuration may say in its field ``provider``.

        Raises:
            UsageError: the configuration has no such field, or one of another type.
        """
        field = self.config.model_fields.get("provider")
        literal = None if field is None else field.annotation
        names = get_args(literal) if get_origin(literal) is Literal else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise UsageError(
                f"{self.config.__name__} does not say which provider it configures: give it a field "
                'such as provider: Literal["wandb"] = "wandb"'
            )
        return names

    def load(self) -> type[BaseTracker[Any]]:
        """The tracker's class.

        Raises:
            MissingExtra: it, or what it needs, is not installed.
            UsageError: there is no such class.
        """
        module, _, name = self.tracker.partition(":")
        try:
            found = getattr(import_module(module), name, None)
        except ImportError as error:
            remedy = "install what it needs" if self.install is None else self.install
            raise MissingExtra(
                f"the provider {'/'.join(self.names())} cannot be imported: {remedy} ({error})"
            ) from error
        if not (isinstance(found, type) and issubclass(found, BaseTracker)):
            raise UsageError(f"{self.tracker!r} is not a BaseTracker: give one as 'module:Class'")
        return found


_AIM: Final = "pip install 'trackwire[aim]'"

_OWN: Final = (
    Provider(TrackConfig, "track.provider.native:NativeTracker"),
    Provider(AimConfig, "track.provider.aim:AimTracker", _AIM),
    Provider(ConsoleConfig, "track.provider.console:ConsoleTracker"),
    Provider(NullConfig, "track.provider.null:NullTracker"),
)

_registered: Final[dict[str, Provider]] = {name: each for each in _OWN for name in each.names()}
_installed: dict[str, Provider] | None = None
_unusable: Final[dict[str, Exception]] = {}


def register_provider(config_type: type[BaseModel], tracker: str, install: str | None = None) -> None:
    """Add a provider of your own, or put it in the place of another.

    Args:
        config_type: its configuration, with a field such as ``provider: Literal["wandb"] = "wandb"``.
        tracker: ``"module:Class"`` of its `BaseTracker`, imported when one is made.
        install: the command that brings the packages it needs, for the message when they are missing.

    Raises:
        UsageError: the configuration does not say which provider it is of, or `tracker` is not so written.
    """
    module, colon, name = tracker.partition(":")
    if not (module and colon and name):
        raise UsageError(f"{tracker!r} names no class: write 'module:Class'")
    provider = Provider(config_type, tracker, install)
    _registered.update(dict.fromkeys(provider.names(), provider))


def providers() -> dict[str, Provider]:
    """All providers by name; what was registered here comes before what is installed."""
    global _installed
    if _installed is None:
        _installed = _found(entry_points(group=GROUP))
    return {**_installed, **_registered}


def unusable(name: str) -> Exception | None:
    """Why the installed provider of that name is not among the others, None if there is no such one."""
    return None if name in providers() else _unusable.get(name)


def _found(points: Any) -> dict[str, Provider]:
    found: dict[str, Provider] = {}
    for point in points:
        try:
            provider = _loaded(point)
            found.update(dict.fromkeys(provider.names(), provider))
        except Exception as error:  # noqa: BLE001 - foreign code may raise anything; the others must still work
            _unusable[point.name] = error
            _log.warning("the provider %s of %s cannot be used: %s", point.name, point.value, error)
    return found


def _loaded(point: EntryPoint) -> Provider:
    provider = point.load()
    if not isinstance(provider, Provider):
        raise UsageError(f"the entry point {point.value} is not a track.provider.Provider: make it one")
    return provider
