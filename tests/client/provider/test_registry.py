"""Providers: ours, the program's own, and those that installed packages bring."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from running_server import environment
from track.provider import BaseTracker, BaseTrackerRun, RunConfig, register_provider, tracker_from_config
from track.provider.configs import NullConfig
from track.provider.null import NullRun
from track.provider.registry import Provider, providers
from track_protocol.errors import UsageError


class MineConfig(BaseModel):
    provider: Literal["mine", "my own"] = "mine"
    address: str


class MineTracker(BaseTracker[MineConfig]):
    """A provider that is no part of the package."""

    def __init__(self, address: str) -> None:
        self.address = address

    @classmethod
    def from_config(cls, config: MineConfig) -> MineTracker:
        return cls(config.address)

    @contextmanager
    def open(self, properties: RunConfig) -> Iterator[BaseTrackerRun]:
        yield NullRun()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers ends with it."""
    from track.provider import registry

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of this module, as one that can be imported."""
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])
    return "mine"


def test_there_are_four_of_our_own() -> None:
    assert sorted(providers()) == ["aim", "console", "null", "track"]


@pytest.mark.parametrize("name", ["mine", "my own"])
def test_a_provider_of_the_program_is_made_by_each_of_its_names(here: str, name: str) -> None:
    register_provider(MineConfig, f"{here}:MineTracker")
    tracker = tracker_from_config({"provider": name, "address": "there"})
    assert isinstance(tracker, MineTracker)
    assert tracker.address == "there"


def test_a_registered_provider_replaces_another(here: str) -> None:
    class Other(NullConfig):
        address: str

    register_provider(Other, f"{here}:MineTracker")
    assert isinstance(tracker_from_config({"provider": "null", "address": "there"}), MineTracker)


class NoProvider(BaseModel):
    address: str


class OpenProvider(BaseModel):
    provider: str = "mine"


@pytest.mark.parametrize("config", [NoProvider, OpenProvider])
def test_a_configuration_without_a_provider_is_refused(config: type[BaseModel]) -> None:
    with pytest.raises(UsageError, match=f"{config.__name__} does not say which provider"):
        register_provider(config, "mine:MineTracker")


@pytest.mark.parametrize("tracker", ["", "mine", ":MineTracker", "mine:"])
def test_a_tracker_that_names_no_class_is_refused(tracker: str) -> None:
    with pytest.raises(UsageError, match="module:Class"):
        register_provider(MineConfig, tracker)


@pytest.mark.parametrize("name", ["MineConfig", "nothing"])
def test_a_class_that_is_not_a_tracker_is_refused(here: str, name: str) -> None:
    with pytest.raises(UsageError, match="is not a BaseTracker"):
        Provider(MineConfig, f"{here}:{name}").load()


def test_a_missing_package_is_an_import_error_with_the_install_command() -> None:
    register_provider(MineConfig, "no_such_package:Tracker", "pip install 'mine[sdk]'")
    with pytest.raises(ImportError, match=r"pip install 'mine\[sdk\]'"):
        tracker_from_config({"provider": "mine", "address": "there"})


# -- installed packages --------------------------------------------------------------------------

PLUGIN = """
from contextlib import contextmanager
from typing import Literal
from pydantic import BaseModel
from track.provider import BaseTracker, Provider
from track.provider.null import NullRun

class PluginConfig(BaseModel):
    provider: Literal["plugin"] = "plugin"

class PluginTracker(BaseTracker[PluginConfig]):
    @classmethod
    def from_config(cls, config):
        return cls()
    @contextmanager
    def open(self, properties):
        yield NullRun()
    def state_dict(self):
        return {}
    def load_state_dict(self, state_dict):
        pass

PROVIDER = Provider(PluginConfig, "plugin:PluginTracker")
"""

ENTRIES = """
[track.providers]
plugin = plugin:PROVIDER
broken = not_there:PROVIDER
strange = plugin:PluginConfig
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with a distribution that brings a provider, and two that do not work."""
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    return tmp_path


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=os.pathsep.join([str(folder), *sys.path]))
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_an_installed_package_brings_a_provider(installed: Path) -> None:
    done = run(
        installed,
        """
        from track.provider import tracker_from_config
        print(type(tracker_from_config({"provider": "plugin"})).__name__)
        """,
    )
    assert done.stdout == "PluginTracker\n", done.stderr
    assert "the provider broken of not_there:PROVIDER cannot be used" in done.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [("broken", "No module named 'not_there'"), ("strange", "is not a track.provider")],
)
def test_an_unusable_installed_provider_gives_the_reason(installed: Path, name: str, reason: str) -> None:
    done = run(
        installed,
        f"""
        from track.provider import tracker_from_config
        try:
            tracker_from_config({{"provider": "{name}"}})
        except ImportError as error:
            print(error)
        """,
    )
    assert reason in done.stdout, done.stderr
