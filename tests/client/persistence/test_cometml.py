"""Experiments of Comet: what is in the archive that the real package writes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import comet_run
from track.persistence import get_protocol
from track_protocol.errors import MissingExtra, UriError
from track_protocol.security.tokens import new_token

with_comet = pytest.mark.skipif(
    importlib.util.find_spec("comet_ml") is None, reason="comet_ml is not installed (extra `comet`)"
)


def archive_of(folder: Path, *arguments: str) -> Path:
    """The archive of one trial."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
    environment |= {"COMET_OFFLINE_DIRECTORY": str(folder), "COMET_LOGGING_CONSOLE": "ERROR"}
    run = subprocess.run(
        [sys.executable, comet_run.__file__, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
    return folder / f"{run.stdout}.zip"


def logged(folder: Path, uri: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the archive of one trial holds: the experiment, and its messages."""
    with zipfile.ZipFile(archive_of(folder, uri)) as archive:
        experiment = json.loads(archive.read("experiment.json"))
        lines = archive.read("messages.json").decode().splitlines()
    return experiment, [json.loads(line) for line in lines]


def parts(messages: list[dict[str, Any]], kind: str, key: str | None = None) -> list[dict[str, Any]]:
    found = [message["payload"] for message in messages if message["type"] == kind]
    return found if key is None else [payload[key] for payload in found]


def check(messages: list[dict[str, Any]]) -> None:
    metrics = [
        (each["metricName"], each["metricValue"], each["step"])
        for each in parts(messages, "metric_msg", "metric")
    ]
    assert ("loss", 0.5, 1) in metrics
    assert ("loss", 0.25, 2) in metrics
    assert {"accuracy", "chrono.epoch"} <= {name for name, _, _ in metrics}
    parameters = {each["paramName"]: each["paramValue"] for each in parts(messages, "parameter_msg", "param")}
    assert (parameters["lr"], parameters["deep|layers"]) == (0.1, 3)
    others = {each["key"]: each["value"] for each in parts(messages, "log_other")}
    assert (others["host"], others["sizes"], others["note"]) == ("node7", "[1, 2]", "text")
    assert (others["Name"], others["project"], others["group"]) == ("first", "paper", "idea")
    assert (others["status"], others["description"]) == ("Exception", "about it")
    assert "ValueError: the end" in others["error"]


@with_comet
def test_an_offline_archive_has_what_was_logged(tmp_path: Path) -> None:
    experiment, messages = logged(tmp_path, "cometml:team/paper")
    assert (experiment["workspace"], experiment["project_name"]) == ("team", "paper")
    assert experiment["tags"] == ["best=true"]
    check(messages)


@with_comet
def test_no_token_reaches_comet(tmp_path: Path) -> None:
    # Fails when anything of what is given to Comet passes `redact_tokens` by.
    token = new_token()
    with zipfile.ZipFile(archive_of(tmp_path, "cometml:team/paper", token)) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, content in found.items() if token.encode() in content or token in name] == []
    assert b"***" in found["messages.json"]


@with_comet
def test_it_works_beside_another_store(tmp_path: Path) -> None:
    _, messages = logged(tmp_path, f"multiplexer:file:{tmp_path}/runs.json;cometml://team/paper")
    check(messages)
    store = get_protocol(f"file:{tmp_path}/runs.json")
    (trial,) = store.fetch_trials({})
    assert trial.metrics["loss"] == {1: 0.5, 2: 0.25}
    assert trial.id is not None
    assert (tmp_path / f"{trial.id.hex()}.zip").exists()
    store.close()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "comet_ml", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trackwire\[comet\]'"):
        get_protocol("cometml:team/paper")


@pytest.mark.parametrize(
    "uri", ["cometml:a/b/c", "cometml://me@team/paper", "cometml://team,paper", "cometml:a?x=1"]
)
def test_an_invalid_location_is_refused(uri: str) -> None:
    with pytest.raises(UriError):
        get_protocol(uri)


@pytest.mark.parametrize(
    ("uri", "extra"), [("cockroach://localhost:8123", "postgres"), ("mongodb://u:secret@h", "mongo")]
)
def test_databases_that_come_later_name_their_extra(uri: str, extra: str) -> None:
    with pytest.raises(MissingExtra, match=rf"pip install 'trackwire\[{extra}\]'") as caught:
        get_protocol(uri)
    assert "secret" not in str(caught.value)
