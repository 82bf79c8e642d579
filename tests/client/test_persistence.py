"""Stores by URI."""

from __future__ import annotations

import importlib.metadata
import threading
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from running_server import serving
from track.persistence import get_protocol, make_local, socketed
from track.persistence.null import NullProtocol
from track.persistence.remote import OutboxProtocol
from track_protocol.errors import BadArguments, ItemNotFound, MissingExtra, UnknownScheme, UriError
from track_protocol.model.entities import Project, Status, Trial, TrialGroup
from track_server.app import Settings
from waiting import wait_until


def only(*points: EntryPoint) -> object:
    """A stand-in for the installed entry points."""
    return lambda **chosen: EntryPoints(points).select(**chosen)


def test_an_unknown_scheme_is_reported_with_the_known_ones() -> None:
    with pytest.raises(
        UnknownScheme,
        match=r"no backend has the scheme 'bogus'; known are .*cockroach, cometml, ephemeral, file, ",
    ):
        get_protocol("bogus://x")


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(UriError, match="fast"):
        get_protocol("ephemeral:?fast=1")
    with pytest.raises(UriError, match="fast"):
        get_protocol("socket://localhost:1?fast=1")


def test_the_scheme_chooses_the_store() -> None:
    assert isinstance(get_protocol("none"), NullProtocol)
    assert isinstance(get_protocol("socket://localhost:1"), socketed.SocketClient)
    assert isinstance(make_local("file:unused.json", strict=False, eager=False), OutboxProtocol)


@pytest.mark.parametrize("points", [(), (EntryPoint("file", "no_such_package:open", "track.backends"),)])
def test_a_store_whose_packages_are_missing_names_the_extra(
    points: tuple[EntryPoint, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", only(*points))
    with pytest.raises(MissingExtra, match=r"pip install 'trackwire\[server\]'"):
        get_protocol("file:x.json")


def test_a_backend_of_another_distribution_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "track_server.embedded:open_ephemeral", "track.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", only(point))
    with pytest.raises(UriError, match="theirs"):  # their function was asked, and knows its own scheme only
        get_protocol("theirs:?x=1")


@pytest.mark.parametrize("points", [(), (EntryPoint("SocketServer", "no_such_package:X", "track.server"),)])
def test_a_server_that_is_not_installed_names_the_extra(
    points: tuple[EntryPoint, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socketed, "entry_points", only(*points))
    with pytest.raises(MissingExtra, match=r"pip install 'trackwire\[server\]'"):
        socketed.SocketServer  # noqa: B018 - the access itself is tested
    with pytest.raises(MissingExtra, match=r"pip install 'trackwire\[server\]'"):
        socketed.start_track_server("ephemeral:", "127.0.0.1", 0)


def test_a_module_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        socketed.nothing  # noqa: B018 - the access itself is tested


def test_a_subclass_may_provide_the_login() -> None:
    class Mine(socketed.SocketClient):
        def authenticate(self, uri: str) -> tuple[str, str]:
            return "me", uri

    client = Mine("socket://localhost:1")
    assert client.authenticate(client.uri) == ("me", "socket://localhost:1")


def test_the_null_store_holds_definitions_and_drops_points() -> None:
    store = get_protocol("none")
    project = store.new_project(Project(name="p"))
    group = store.new_trial_group(TrialGroup(name="g", project_id=project.uid))
    assert group is not None
    trial = store.new_trial(Trial(parameters={"lr": 1}))
    assert trial is not None
    assert store.new_trial(Trial(parameters={"lr": 1})) is None
    store.add_project_trial(project, trial)
    store.add_group_trial(group, trial)
    store.log_trial_metrics(trial, 1, loss=0.5)
    store.metric_writer(trial)(1, {"loss": 0.5})
    store.set_group_metadata(group, a=1)
    claimed = store.fetch_and_update_trial({"parameters.lr": 1}, "set_trial_status", "Running")
    assert claimed is trial
    assert trial.status == Status.Running
    assert store.fetch_groups({"metadata.a": 1}) == [group]
    with pytest.raises(ItemNotFound, match="no metric is stored"):
        store.fetch_metrics(trial, "loss")
    with pytest.raises(BadArguments, match="does not update a trial"):
        store.fetch_and_update_trial({}, "_missing", "x")


def test_a_garbage_collected_client_releases_its_thread_and_connection(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with serving(Settings(backend=f"sqlite:{tmp_path / 'runs.db'}", home=tmp_path / "home")) as served:
        uri = served.join("worker")
        protocol = get_protocol(uri)
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        protocol.log_trial_metrics(trial, loss=1.0)
        del protocol, trial
        wait_until(
            lambda: not any(thread.name == "track-sender" for thread in set(threading.enumerate()) - before),
            "the end of the thread",
        )
        reader = get_protocol(uri)
        (found,) = reader.fetch_trials({})
        assert found.metrics["loss"] == [1.0]
        reader.close()
