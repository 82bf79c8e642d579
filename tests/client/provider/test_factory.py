"""From a configuration to its tracker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

from track.provider import (
    AimConfig,
    AnyTrackerConfig,
    BaseTracker,
    ConsoleConfig,
    NullConfig,
    RunConfig,
    TrackConfig,
    register_provider,
    tracker_from_config,
)
from track.provider.aim import AimTracker
from track.provider.console import ConsoleTracker
from track.provider.native import NativeTracker
from track.provider.null import NullTracker
from track_protocol.errors import UsageError


class Job(BaseModel):
    """The configuration of a program that trains."""

    epochs: int = 1
    tracker: AnyTrackerConfig


@pytest.mark.parametrize(
    ("config", "tracker"),
    [
        (TrackConfig(uri="ephemeral:"), NativeTracker),
        (ConsoleConfig(), ConsoleTracker),
        (NullConfig(), NullTracker),
        ({"provider": "track", "uri": "ephemeral:"}, NativeTracker),
        (json.loads('{"provider": "console", "to": "log"}'), ConsoleTracker),
        ({"provider": "null"}, NullTracker),
    ],
)
def test_the_provider_chooses_the_tracker(config: Any, tracker: type[BaseTracker[Any]]) -> None:
    assert type(tracker_from_config(config)) is tracker


def test_a_program_puts_any_tracker_into_its_own_configuration() -> None:
    job = Job.model_validate_json('{"tracker": {"provider": "console", "to": "stderr"}}')
    assert job.tracker == ConsoleConfig(to="stderr")
    assert Job.model_validate_json(job.model_dump_json()) == job
    assert Job(tracker=NullConfig()).model_dump() == {"epochs": 1, "tracker": {"provider": "null"}}


def test_a_program_accepts_providers_that_are_registered_later(monkeypatch: pytest.MonkeyPatch) -> None:
    from track.provider import registry

    class LaterConfig(BaseModel):
        provider: Literal["later"] = "later"

    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    with pytest.raises(ValidationError, match="'later'"):
        Job.model_validate({"tracker": {"provider": "later"}})
    register_provider(LaterConfig, "later:Tracker")
    assert Job.model_validate({"tracker": {"provider": "later"}}).tracker == LaterConfig()


def test_the_json_schema_distinguishes_providers() -> None:
    schema = Job.model_json_schema()
    assert schema["properties"]["tracker"]["discriminator"]["propertyName"] == "provider"
    assert {"AimConfig", "ConsoleConfig", "NullConfig", "TrackConfig"} <= schema["$defs"].keys()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"provider": "wandb"}, "'track', 'aim', 'console', 'null'"),
        ({"provider": ["track"]}, "provider"),
        ({}, "discriminator 'provider'"),
        ({"provider": "track"}, "uri"),
        ({"provider": "track", "uri": ""}, "uri"),
        ({"provider": "console", "level": 3}, "level"),
        ({"provider": "track", "uri": "ephemeral:", "ranks": "some"}, "ranks"),
    ],
)
def test_a_wrong_configuration_names_the_wrong_field(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        tracker_from_config(config)
    with pytest.raises(ValidationError, match=reason):
        Job.model_validate({"tracker": config})


def test_errors_do_not_show_the_token() -> None:
    with pytest.raises(ValidationError) as raised:
        tracker_from_config({"uri": "socket://ann:trk_secret@host"})
    assert "trk_secret" not in str(raised.value)


def test_a_configuration_of_an_unknown_provider_is_refused() -> None:
    with pytest.raises(UsageError, match="no provider is registered for the configuration RunConfig"):
        tracker_from_config(RunConfig(name="n"))


def test_aim_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aim", None)
    with pytest.raises(ImportError, match=r"pip install 'trackwire\[aim\]'"):
        tracker_from_config(AimConfig())


def test_pydantic_that_is_not_installed_names_the_extra(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.modules['pydantic'] = None\n"
        "try:\n    import track.provider\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert "pip install 'trackwire[provider]'" in done.stdout, done.stderr


def test_a_checkpoint_of_the_documented_tracker_names_its_run_too() -> None:
    tracker = AimTracker(None, AimConfig())
    tracker.load_state_dict({"restart_hash": "abc"})
    assert tracker.state_dict() == {"run_hash": "abc"}


def test_aim_stores_nothing_about_the_system_unless_it_is_asked_to() -> None:
    assert AimConfig().log_system_params is False
    assert AimConfig(log_system_params=True).log_system_params is True
