"""Any filter selects the same trials in every command and in `fetch_trials`, or is refused by all of them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command_runner import fill, run
from running_server import serving
from track import TrackClient
from track.commands import export, ls, query, rm
from track.persistence import get_protocol
from track.persistence.filtering import filter_query_of
from track.persistence.matching import execute_query
from track_protocol.command import Command
from track_protocol.errors import BadQuery, UsageError
from track_server.app import Settings

NAMES = st.sampled_from(
    [
        *(
            "lr",
            "params.lr",
            "opt.name",
            "model.lr",
            "'model.lr'",
            "params.a.b",
            "a",
            "same",
            "'weight decay'",
        ),
        *("loss", "metrics.loss", "loss.min", "metrics.loss.min", "loss.max", "metrics.loss.count", "note"),
        *(
            'loss{phase="val"}',
            "team",
            "tags.team",
            "metadata.note",
            "metadata.run.user",
            "user",
            "git.commit",
        ),
        *(
            "user",
            "same",
            "name",
            "status",
            "status.name",
            "project",
            "group",
            "uid",
            "revision",
            "version",
            "duration",
        ),
        *("created", "started", "ended", "runtime", "chronos.runtime.max", "description"),
        *("stauts", "params.nosuch", "metrics.lr", "lsos", "tags", "parameters.opt", "created.x", "team.x"),
    ]
)
VALUES = st.sampled_from(
    [
        *("0.1", "0.2", "1", "-1", "1e9", "true", "null", "inf", "adam", "'first'", "red", "bob", "x", "''"),
        *("completed", "EXCEPTION", "exception", "runing", "vision", "sweep", "nosuch", "1h", "2026-01-01"),
        *("'9'", "0.5", "5.0", "abc", "00ff", "302"),
    ]
)
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "!~"])
COMPARISONS = (
    st.builds("{} {} {}".format, NAMES, OPERATORS, VALUES)
    | st.builds("{} {} ({})".format, NAMES, st.sampled_from(["in", "not in"]), VALUES)
    | st.builds("{} in ({}, {})".format, NAMES, VALUES, VALUES)
    | NAMES.map("{} exists".format)
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: (
        inner.map("not ({})".format)
        | st.builds("({}) and ({})".format, inner, inner)
        | st.builds("({}) or ({})".format, inner, inner)
    ),
    max_leaves=3,
)
SLOW = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def filled(uri: str) -> str:
    """Fill a store with trials of nested and flat parameters."""
    fill(uri)
    with TrackClient(uri) as client:
        client.set_project(name="speech")
        flat = {"model.lr": 0.5, "a.b": 1, "a": {"b": 2}, "weight decay": 0.1, "lr": "high"}
        trial = client.new_trial(name="flat", arguments=flat)
        trial.start()
        trial.log_metadata(note="x", run={"user": "bob", "git": {"commit": "abc"}})
        trial.log_metrics(step=1, **{"loss.min": 5.0, "loss": 0.5})
        trial.finish()
        client.new_trial(force=True, name="nested", arguments={"model": {"lr": 0.1}}).log_metadata(note=1)
    return uri


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return filled(f"sqlite:{tmp_path_factory.mktemp('store')}/runs.db")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with serving(Settings(f"sqlite:{folder}/runs.db", home=folder / "home")) as served:
        yield filled(served.join("me"))


def printed(command: Command, *words: str) -> Any:
    """What a command prints as JSON; the text of the error if it refuses."""
    out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), "utf-8")
    try:
        run(command, *words)
        sys.stdout.flush()
        assert isinstance(sys.stdout.buffer, io.BytesIO)
        return json.loads(sys.stdout.buffer.getvalue())
    except UsageError as error:
        return str(error)
    finally:
        sys.stdout = out


def uids(found: Any) -> Any:
    """The uids of a list; an error as it is."""
    return found if isinstance(found, str) else sorted(each["uid"] for each in found)


def fetched(uri: str, text: str) -> Any:
    """The uids that `fetch_trials` finds, as do the rules of queries; or the text of the error."""
    protocol = get_protocol(uri)
    try:
        meant = filter_query_of(protocol, text)
        found = sorted(trial.uid for trial in protocol.fetch_trials(meant))
        trials = protocol.fetch_trials({})
        assert found == sorted(trial.uid for trial in trials if execute_query(trial, meant))
        return found
    except BadQuery as error:
        return f"--filter, {error}"
    finally:
        protocol.close()


def assert_all_agree(uri: str, text: str) -> None:
    expected = fetched(uri, text)
    words = ("--uri", uri, "--filter", text)
    assert uids(printed(ls.COMMAND, *words, "--json")) == expected
    assert uids(printed(export.COMMAND, *words, "--wide", "--format", "json")) == expected
    assert uids(printed(rm.COMMAND, *words, "--dry-run", "--json")) == expected
    assert uids(printed(query.COMMAND, "SELECT uid FROM trials", *words, "--json")) == expected


@SLOW
@given(text=FILTERS)
def test_every_command_selects_the_same_trials(file: str, text: str) -> None:
    assert_all_agree(file, text)


@settings(SLOW, max_examples=15)
@given(text=FILTERS)
def test_every_command_selects_the_same_trials_on_a_server(address: str, text: str) -> None:
    assert_all_agree(address, text)


@pytest.mark.parametrize(
    "text",
    ["status != complete", "not stauts = completed", "not loss.mn < 1", "project != vison", "lr < O.1"],
)
def test_a_command_that_deletes_refuses_what_it_does_not_understand(tmp_path: Path, text: str) -> None:
    uri = f"sqlite:{tmp_path}/runs.db"
    before = fill(uri)
    with pytest.raises(UsageError, match="--filter, column"):
        run(rm.COMMAND, "--uri", uri, "--filter", text, "--yes")
    assert uids(printed(ls.COMMAND, "--uri", uri, "--json")) == sorted(before)
