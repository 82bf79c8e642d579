"""Tables of trials, and what the board changes."""

from __future__ import annotations

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import BadArguments, BadQuery
from track_protocol.model.entities import Project, Status

__all__ = ["TableTests"]


class TableTests(BackendSuite):
    """Part of `BackendContract`."""

    def test_a_table_has_columns_of_the_trials_that_match(self, protocol: Protocol) -> None:
        self._fill(protocol)
        columns = ["name", "parameters.lr", "status", "metrics.loss.min", "metrics.best.min", "tags.team"]
        table = protocol.fetch_table({"parameters.lr": {"$gt": 0.1}}, columns, order=["-name"])
        assert table["total"] == 2
        assert table["columns"] == [
            ["c", "b"],
            [0.3, 0.2],
            ["CreatedGroup", "Running"],
            [0.1, 0.5],
            [None, 7.0],
            ["x", None],
        ]

    def test_a_table_is_fetched_in_pages(self, protocol: Protocol) -> None:
        self._fill(protocol)
        page = protocol.fetch_table({}, ["name"], ["metrics.loss"], 1, 1)
        assert (page["total"], page["columns"]) == (3, [["b"]])
        assert protocol.fetch_rows(page["ids"], ["name"])["columns"] == [["b"]]

    def test_rows_are_those_of_the_trials_that_are_there(self, protocol: Protocol) -> None:
        self._fill(protocol)
        a, b, c = protocol.fetch_trials({})
        protocol.delete_trial(b, force=True)
        found = protocol.fetch_rows([c, b, a], ["name", "uid"])
        assert (found["ids"], found["columns"]) == ([c.id, a.id], [["c", "a"], [c.uid, a.uid]])

    def test_a_table_that_cannot_be_answered_is_refused(self, protocol: Protocol) -> None:
        with pytest.raises(BadArguments, match="no attribute 'oops'"):
            protocol.fetch_table({}, ["oops"])
        with pytest.raises(BadArguments, match="ask for at most"):
            protocol.fetch_table({}, limit=1_000_000)
        with pytest.raises(BadQuery):
            protocol.fetch_table({"oops": 1})

    def test_fields_and_series_are_summarised(self, protocol: Protocol) -> None:
        self._fill(protocol)
        found = protocol.fetch_fields({"name": {"$ne": "c"}})
        fields = {each["name"]: each for each in found["fields"]}
        assert (found["total"], found["statuses"]) == (2, {"CreatedGroup": 1, "Running": 1})
        assert (fields["parameters.lr"]["min"], fields["parameters.lr"]["max"]) == (0.1, 0.2)
        assert fields["parameters.flat.width"]["count"] == 2
        series = {(each["kind"], each["name"]): each["trials"] for each in found["series"]}
        assert (series["metric", "loss"], series["metric", "best.min"]) == (2, 1)

    def test_trials_are_grouped(self, protocol: Protocol) -> None:
        self._fill(protocol)
        created, running = protocol.fetch_groups_of({}, ["status"], ["metrics.loss"])
        assert (created["by"], created["count"], running["by"]) == (["CreatedGroup"], 2, ["Running"])
        assert created["measures"] == [{"count": 2, "min": 0.1, "max": 0.9, "mean": 0.5, "sd": 0.4}]

    def test_changes_are_known_since_a_moment(self, protocol: Protocol) -> None:
        self._fill(protocol)
        protocol.flush()
        moment = protocol.fetch_changes()
        trial = self._new(protocol, name="d")
        protocol.set_trial_status(trial, Status.Running)
        protocol.flush()
        changed = protocol.fetch_changes(moment["cursor"])
        assert trial.id in changed["trials"] or not changed["known"]

    def test_a_trial_is_renamed_and_stays_the_same(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="old", description="what")
        protocol.rename_trial(trial, "new")
        found = self._trial(protocol, trial)
        assert (found.name, found.description, found.uid) == ("new", "what", trial.uid)
        protocol.rename_trial(found, description="")
        assert self._trial(protocol, trial).description is None

    def test_tags_are_removed(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t", tags={"a": 1, "b": 2})
        protocol.remove_trial_tags(trial, ["a", "nothing"])
        assert self._trial(protocol, trial).tags == {"b": 2}

    def test_metadata_of_a_project_is_merged(self, protocol: Protocol) -> None:
        project = protocol.new_project(Project(name="p", metadata={"a": 1}))
        protocol.set_project_metadata(project, b=2)
        found = protocol.get_project(project)
        assert found is not None
        assert found.metadata == {"a": 1, "b": 2}
