"""Projects, groups and trials."""

from __future__ import annotations

from typing import Any

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.model.aggregators import TimeSeriesAggregator
from track_protocol.model.entities import CustomStatus, Project, Status, Trial, TrialGroup

__all__ = ["TrialTests"]


class TrialTests(BackendSuite):
    """Part of `BackendContract`."""

    def test_a_new_project_can_be_got(self, protocol: Protocol) -> None:
        project = Project(name="p", description="d", metadata={"k": [1, 2.5, "x", None, True]})
        protocol.new_project(project)
        found = protocol.get_project(Project(name="p"))
        assert found is not None
        assert (found.uid, found.name, found.description) == (project.uid, "p", "d")
        assert found.metadata == {"k": [1, 2.5, "x", None, True]}

    def test_a_project_that_exists_stays_as_it_is(self, protocol: Protocol) -> None:
        protocol.new_project(Project(name="p", description="first"))
        assert protocol.new_project(Project(name="p", description="second")).description == "first"

    def test_what_does_not_exist_is_none(self, protocol: Protocol) -> None:
        assert protocol.get_project(Project(name="nobody")) is None
        assert protocol.get_trial_group(TrialGroup(name="nobody")) is None
        assert protocol.get_trial(Trial(name="nobody")) is None

    def test_a_group_belongs_to_its_project(self, protocol: Protocol) -> None:
        project = protocol.new_project(Project(name="p"))
        group = protocol.new_trial_group(TrialGroup(name="g", project_id=project.uid))
        assert group is not None
        found = protocol.get_trial_group(TrialGroup(name="g", project_id=project.uid))
        assert found is not None
        assert (found.uid, found.project_id) == (group.uid, project.uid)

    def test_a_group_that_exists_stays_as_it_is_and_is_not_made_again(self, protocol: Protocol) -> None:
        protocol.new_trial_group(TrialGroup(name="g", description="first"))
        assert protocol.new_trial_group(TrialGroup(name="g", description="second")) is None
        assert self._group(protocol, TrialGroup(name="g")).description == "first"

    def test_metadata_of_a_group_is_merged(self, protocol: Protocol) -> None:
        group = protocol.new_trial_group(TrialGroup(name="g", metadata={"a": 1}))
        assert group is not None
        protocol.set_group_metadata(group, b=2)
        assert self._group(protocol, group).metadata == {"a": 1, "b": 2}

    # -- trials -----------------------------------------------------------------------------------

    def test_a_new_trial_keeps_its_definition(self, protocol: Protocol) -> None:
        parameters = {"lr": 0.1, "layers": [1, 2], "nested": {"deep": {"er": "x"}}, "none": None}
        trial = self._new(
            protocol, name="t", description="d", version="v", parameters=parameters, tags={"k": "v"}
        )
        (found,) = protocol.get_trial(trial) or []
        assert (found.name, found.description, found.version) == ("t", "d", "v")
        assert (found.parameters, found.tags) == (parameters, {"k": "v"})
        assert (found.uid, found.revision, found.status) == (trial.uid, 0, Status.CreatedGroup)

    def test_the_uid_of_a_trial_is_hash_and_revision(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        assert trial.uid == f"{trial.hash}_0"

    def test_a_trial_that_exists_is_not_inserted_again(self, protocol: Protocol) -> None:
        self._new(protocol, name="t")
        assert protocol.new_trial(Trial(name="t")) is None
        assert len(protocol.fetch_trials({})) == 1

    def test_auto_increment_makes_the_next_revision(self, protocol: Protocol) -> None:
        made = [protocol.new_trial(Trial(name="t"), auto_increment=True) for _ in range(3)]
        assert [trial.revision for trial in made if trial is not None] == [0, 1, 2]

    def test_a_trial_enters_a_project_and_groups(self, protocol: Protocol) -> None:
        project = protocol.new_project(Project(name="p"))
        groups = [TrialGroup(name=f"g{i}", project_id=project.uid) for i in range(2)]
        assert [protocol.new_trial_group(group) for group in groups] == groups
        trial = self._new(protocol, name="t")
        protocol.add_project_trial(project, trial)
        for group in groups:
            protocol.add_group_trial(group, trial)
        (found,) = protocol.get_trial(trial) or []
        assert (found.project_id, found.group_id) == (project.uid, groups[1].uid)
        assert [len(self._group(protocol, group).trials) for group in groups] == [1, 1]

    @pytest.mark.parametrize("status", [Status.Running, Status.Broken, CustomStatus("mine", 777)])
    def test_a_status_reads_back(self, protocol: Protocol, status: Any) -> None:
        trial = self._new(protocol, name="t")
        protocol.set_trial_status(trial, status, error="because" if status is Status.Broken else None)
        found = self._trial(protocol, trial)
        assert (found.status.name, found.status.value) == (status.name, status.value)
        assert found.errors == (["because"] if status is Status.Broken else [])

    def test_start_and_finish_set_the_status(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_start(trial)
        assert self._trial(protocol, trial).status == Status.Running
        protocol.log_trial_finish(trial, None, None, None)
        assert self._trial(protocol, trial).status == Status.Completed

    def test_a_rank_above_0_leaves_the_status_alone(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_start(trial)
        protocol.log_trial_start(trial, rank=1)
        protocol.log_trial_finish(trial, ValueError, ValueError("went wrong"), None, rank=1)
        found = self._trial(protocol, trial)
        assert (found.status, found.metadata["ranks"]) == (Status.Running, [1])
        assert "went wrong" in found.errors[0]

    def test_an_exception_is_retained_with_its_text(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        try:
            raise ValueError("went wrong")
        except ValueError as error:
            protocol.log_trial_finish(trial, type(error), error, error.__traceback__)
        found = self._trial(protocol, trial)
        assert found.status == Status.Exception
        assert "went wrong" in found.errors[0]

    def test_arguments_metadata_and_tags_are_merged(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t", parameters={"lr": 0.1})
        for value in (1, 2):
            protocol.log_trial_arguments(trial, extra=value)
            protocol.log_trial_metadata(trial, gpu=value)
            protocol.add_trial_tags(trial, tag=value)
        found = self._trial(protocol, trial)
        assert found.parameters == {"lr": 0.1, "extra": 2}
        assert found.metadata["gpu"] == 2
        assert found.tags == {"tag": 2}

    def test_metadata_can_be_a_series(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for value in (1, 2):
            protocol.log_trial_metadata(trial, aggregator=TimeSeriesAggregator.lazy(), claims=value)
        assert self._trial(protocol, trial).metadata["claims"] == [1, 2]

    def test_the_trials_of_a_project_have_its_tags_and_cannot_override_them(self, protocol: Protocol) -> None:
        project = protocol.new_project(Project(name="p", tags={"team": "vision"}))
        assert project.tags == {"team": "vision"}
        inside = self._new(protocol, name="a", project_id=project.uid, tags={"team": "mine", "k": 1})
        moved = self._new(protocol, name="b")
        protocol.add_project_trial(project, moved)
        protocol.add_trial_tags(inside, team="other", more=2)
        protocol.add_trial_tags(moved, team="other")
        assert self._trial(protocol, inside).tags == {"team": "vision", "k": 1, "more": 2}
        assert self._trial(protocol, moved).tags == {"team": "vision"}

    def test_start_and_finish_keep_the_runtime(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        assert protocol.log_trial_start(trial) is trial
        protocol.log_trial_finish(trial)
        assert 0 < self._trial(protocol, trial).chronos["runtime"] < 60
