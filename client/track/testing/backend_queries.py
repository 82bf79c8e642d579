"""Queries, and atomic updates of the objects they find."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import BadQuery, ItemNotFound
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
            ({"parameters.flat.width": 8}, "ab"),
            ({"parameters.flat.width": {"$ne": 8}}, "c"),
            ({"status": Status.Running}, "b"),
            ({"status": "running"}, "b"),
            ({"status": {"$in": [Status.Running, Status.CreatedGroup]}}, "abc"),
            ({"metrics.loss": {"$lt": 0.5}}, "c"),
            ({"metrics.loss.min": {"$gt": 0.4}}, "ab"),
            ({"metrics.best.min": 7.0}, "b"),
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
        assert (claimed.name, claimed.status) == ("a", Status.Running)
        assert [trial.name for trial in protocol.fetch_trials(query)] == ["c"]

    def test_fetch_and_update_of_nothing_finds_no_item(self, protocol: Protocol) -> None:
        with pytest.raises(ItemNotFound, match=r"no trial matches {'name': 'nobody'}"):
            protocol.fetch_and_update_trial({"name": "nobody"}, "add_trial_tags", a=1)
        with pytest.raises(ItemNotFound, match=r"no group matches {'name': 'nobody'}"):
            protocol.fetch_and_update_group({"name": "nobody"}, "set_group_metadata", a=1)

    def test_without_a_query_all_are_found(self, protocol: Protocol) -> None:
        self._fill(protocol)
        protocol.new_project(Project(name="p"))
        protocol.new_trial_group(TrialGroup(name="g"))
        assert [len(protocol.fetch_trials()), len(protocol.fetch_trials(None))] == [3, 3]
        assert [project.name for project in protocol.fetch_projects()] == ["p"]
        assert [group.name for group in protocol.fetch_groups()] == ["g"]

    def test_a_list_of_queries_selects_what_all_of_them_select(self, protocol: Protocol) -> None:
        self._fill(protocol)
        found = protocol.fetch_trials([{"parameters.lr": {"$gt": 0.1}}, {"parameters.lr": {"$lt": 0.3}}])
        assert [trial.name for trial in found] == ["b"]
        assert len(protocol.fetch_trials([])) == 3

    def test_a_uid_may_have_its_underscore(self, protocol: Protocol) -> None:
        self._fill(protocol)
        project = protocol.new_project(Project(name="p"))
        group = protocol.new_trial_group(TrialGroup(name="g"))
        assert group is not None
        (trial,) = protocol.fetch_trials({"name": "a"})
        assert protocol.fetch_trials({"_uid": trial.uid}) == [trial]
        assert protocol.fetch_projects({"_uid": project.uid}) == [project]
        assert protocol.fetch_and_update_group({"_uid": group.uid}, "set_group_metadata", a=1) == group

    def test_a_key_that_a_group_does_not_have_is_one_of_its_metadata(self, protocol: Protocol) -> None:
        # Older scripts name what they have put into the metadata of a group, as Oríon does.
        protocol.new_trial_group(TrialGroup(name="g", metadata={"version": 2, "refers": {"root": "r"}}))
        assert [group.name for group in protocol.fetch_groups({"version": 2, "refers.root": "r"})] == ["g"]
        assert protocol.fetch_groups({"refers.root": "other"}) == []

    def test_a_group_is_fetched_and_updated(self, protocol: Protocol) -> None:
        protocol.new_trial_group(TrialGroup(name="g"))
        updated = protocol.fetch_and_update_group({"name": "g"}, "set_group_metadata", a=1)
        assert updated.metadata == {"a": 1}

    def test_a_trial_is_claimed_by_one_of_many(self, protocol: Protocol, second: Protocol) -> None:
        for number in range(20):
            self._new(protocol, name="t", parameters={"number": number})
        protocol.flush()
        claimed: list[str] = []

        def claim(claimer: Protocol) -> None:
            query = {"status": Status.CreatedGroup}
            with suppress(ItemNotFound):
                while True:
                    found = claimer.fetch_and_update_trial(query, "set_trial_status", Status.Running)
                    claimed.append(found.uid)

        threads = [threading.Thread(target=claim, args=(one,)) for one in (protocol, second) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(claimed) == len(set(claimed)) == 20
