"""Queries, and atomic updates of the objects they find."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import BadQuery
from track_protocol.model.entities import Project, Status, TrialGroup

__all__ = ["QueryTests"]


class QueryTests(BackendSuite):
    """Part of `BackendContract`."""

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, "abc"),
            ({"name": "a"}, "a"),
            ({"parameters.lr": 0.1}, "a"),
            ({"parameters.lr": {"$in": [0.1, 0.3]}}, "ac"),
            ({"parameters.lr": {"$nin": [0.1, 0.3]}}, "b"),
            ({"parameters.lr": {"$ne": 0.1}}, "bc"),
            ({"parameters.lr": {"$lte": 0.2}}, "ab"),
            ({"parameters.lr": {"$gt": 0.1, "$lt": 0.3}}, "b"),
            ({"parameters.lr": {"$gte": 0.2}}, "bc"),
            ({"parameters.only_b": {"$exists": True}}, "b"),
            ({"parameters.only_b": {"$exists": False}}, "ac"),
            ({"$or": [{"name": "a"}, {"name": "c"}]}, "ac"),
            ({"$and": [{"name": "a"}, {"parameters.lr": 0.3}]}, ""),
            ({"$not": {"name": "a"}}, "bc"),
            ({"status": Status.Running}, "b"),
            ({"status": {"$in": [Status.Running, Status.CreatedGroup]}}, "abc"),
            ({"metrics.loss": {"$lt": 0.5}}, "c"),
            ({"tags.team": "x"}, "c"),
        ],
    )
    def test_trials_are_found(self, protocol: Protocol, query: dict[str, Any], found: str) -> None:
        self._fill(protocol)
        assert "".join(trial.name or "" for trial in protocol.fetch_trials(query)) == found

    def test_groups_and_projects_are_found(self, protocol: Protocol) -> None:
        for name in "ab":
            protocol.new_project(Project(name=name, metadata={"kind": name}))
            protocol.new_trial_group(TrialGroup(name=name, metadata={"kind": name}))
        assert [project.name for project in protocol.fetch_projects({"metadata.kind": "b"})] == ["b"]
        assert [group.name for group in protocol.fetch_groups({"metadata.kind": {"$ne": "b"}})] == ["a"]

    def test_a_wrong_query_is_refused(self, protocol: Protocol) -> None:
        with pytest.raises(BadQuery):
            protocol.fetch_trials({"parameters.lr": {"$about": 1}})

    def test_fetch_and_update_changes_the_oldest_that_matches(self, protocol: Protocol) -> None:
        self._fill(protocol)
        query = {"status": Status.CreatedGroup}
        claimed = protocol.fetch_and_update_trial(query, "set_trial_status", status=Status.Running)
        assert claimed is not None
        assert (claimed.name, claimed.status) == ("a", Status.Running)
        assert [trial.name for trial in protocol.fetch_trials(query)] == ["c"]

    def test_fetch_and_update_of_nothing_is_none(self, protocol: Protocol) -> None:
        assert protocol.fetch_and_update_trial({"name": "nobody"}, "add_trial_tags", a=1) is None
        assert protocol.fetch_and_update_group({"name": "nobody"}, "set_group_metadata", a=1) is None

    def test_a_group_is_fetched_and_updated(self, protocol: Protocol) -> None:
        protocol.new_trial_group(TrialGroup(name="g"))
        updated = protocol.fetch_and_update_group({"name": "g"}, "set_group_metadata", a=1)
        assert updated is not None
        assert updated.metadata == {"a": 1}

    def test_a_trial_is_claimed_by_one_of_many(self, protocol: Protocol, second: Protocol) -> None:
        for number in range(20):
            self._new(protocol, name="t", parameters={"number": number})
        protocol.flush()
        claimed: list[str] = []

        def claim(claimer: Protocol) -> None:
            query = {"status": Status.CreatedGroup}
            while (
                trial := claimer.fetch_and_update_trial(query, "set_trial_status", Status.Running)
            ) is not None:
                claimed.append(trial.uid)

        threads = [threading.Thread(target=claim, args=(one,)) for one in (protocol, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claimed) == len(set(claimed)) == 20
