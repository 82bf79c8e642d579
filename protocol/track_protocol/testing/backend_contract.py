"""What every storage protocol promises, as one class of tests."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from track_protocol.aggregators import StatAggregator, TimeSeriesAggregator, ValueAggregator
from track_protocol.errors import BadArguments, BadQuery, ItemNotFound, TrialInUse
from track_protocol.model import CustomStatus, Project, Status, Trial, TrialGroup
from track_protocol.protocol import Protocol

__all__ = ["BackendContract"]


class BackendContract:
    """A backend that passes these tests serves any client.

    Use it in a module of tests, once for each backend::

        from track_protocol.testing import BackendContract

        class TestMyOwnBackend(BackendContract):
            def open_protocol(self, path):
                return MyOwnBackend(f"byob:{path}/store")

    `open_protocol` is called with an empty folder, and may be called again with the same one for a
    second client of the same store; set `shared` to False for a backend that has none.
    """

    shared = True

    def open_protocol(self, path: Path) -> Protocol:
        """A client of the store in the folder `path`."""
        raise NotImplementedError("a backend's test class overrides open_protocol")

    @pytest.fixture
    def protocol(self, tmp_path: Path) -> Iterator[Protocol]:
        """The backend under test."""
        protocol = self.open_protocol(tmp_path)
        yield protocol
        protocol.close()

    @pytest.fixture
    def second(self, protocol: Protocol, tmp_path: Path) -> Iterator[Protocol]:
        """Another client of the same store."""
        if not self.shared:
            pytest.skip("this backend has no second client")
        second = self.open_protocol(tmp_path)
        yield second
        second.close()

    # -- what is lost ----------------------------------------------------------------------------

    def test_losses_of_a_trial_add_up_in_its_metadata(self, protocol: Protocol) -> None:
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        for points, reason in ((3, "no room"), (1, "not a number"), (4, "no room")):
            protocol.log_trial_losses(trial, points, reason)
        protocol.flush()
        (found,) = protocol.get_trial(trial)
        assert found.metadata["losses"] == {"points": 8, "reasons": {"no room": 7, "not a number": 1}}

    def test_nothing_is_rejected_where_everything_fits(self, protocol: Protocol) -> None:
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        protocol.log_trial_metrics(trial, step=1, loss=0.5)
        protocol.flush()
        assert protocol.fetch_rejected() == protocol.fetch_rejected(trial) == []

    # -- projects and groups ---------------------------------------------------------------------

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
        assert protocol.get_trial(Trial(name="nobody")) == []

    def test_a_group_belongs_to_its_project(self, protocol: Protocol) -> None:
        project = protocol.new_project(Project(name="p"))
        group = protocol.new_trial_group(TrialGroup(name="g", project_id=project.uid))
        found = protocol.get_trial_group(TrialGroup(name="g", project_id=project.uid))
        assert found is not None
        assert (found.uid, found.project_id) == (group.uid, project.uid)

    def test_metadata_of_a_group_is_merged(self, protocol: Protocol) -> None:
        group = protocol.new_trial_group(TrialGroup(name="g", metadata={"a": 1}))
        protocol.set_group_metadata(group, b=2)
        assert self._group(protocol, group).metadata == {"a": 1, "b": 2}

    # -- trials ----------------------------------------------------------------------------------

    def test_a_new_trial_keeps_its_definition(self, protocol: Protocol) -> None:
        parameters = {"lr": 0.1, "layers": [1, 2], "nested": {"deep": {"er": "x"}}, "none": None}
        trial = self._new(
            protocol, name="t", description="d", version="v", parameters=parameters, tags={"k": "v"}
        )
        (found,) = protocol.get_trial(trial)
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
        groups = [
            protocol.new_trial_group(TrialGroup(name=f"g{i}", project_id=project.uid)) for i in range(2)
        ]
        trial = self._new(protocol, name="t")
        protocol.add_project_trial(project, trial)
        for group in groups:
            protocol.add_group_trial(group, trial)
        (found,) = protocol.get_trial(trial)
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

    def test_an_exception_is_kept_with_its_text(self, protocol: Protocol) -> None:
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

    # -- metrics ---------------------------------------------------------------------------------

    def test_a_metric_with_steps_reads_as_a_mapping(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(3):
            protocol.log_trial_metrics(trial, step=step, loss=1.0 / (step + 1))
        assert dict(self._trial(protocol, trial).metrics["loss"]) == {0: 1.0, 1: 0.5, 2: 1.0 / 3}

    def test_a_metric_without_steps_reads_as_a_list(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for value in (0.5, 0.25):
            protocol.log_trial_metrics(trial, cost=value)
        assert list(self._trial(protocol, trial).metrics["cost"]) == [0.5, 0.25]

    @pytest.mark.parametrize(
        "values",
        [
            [0.1, -0.0, 1e300, math.inf, -math.inf],
            [1, 2**53 + 1, -(2**63), 2**63 - 1],
            ["a", "b\0c", "ünï"],
            [True, False, None],
            [1, 0.5, "mixed", None, [1, {"k": 2}]],
        ],
    )
    def test_values_read_back_as_they_were_logged(self, protocol: Protocol, values: list[Any]) -> None:
        trial = self._new(protocol, name="t")
        for value in values:
            protocol.log_trial_metrics(trial, value=value)
        assert list(self._points(protocol, trial, "value").values) == values

    def test_not_a_number_survives(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, step=0, loss=math.nan)
        assert math.isnan(self._points(protocol, trial, "loss").values[0])

    @pytest.mark.parametrize("steps", [[0, 1, 2], [0.5, 1.5], ["a", "b"], [(0, 1), (0, 2)], [3, 1, 1, 2]])
    def test_steps_may_be_anything_and_are_all_kept_in_order(
        self, protocol: Protocol, steps: list[Any]
    ) -> None:
        trial = self._new(protocol, name="t")
        for step in steps:
            protocol.log_trial_metrics(trial, step=step, loss=1.0)
        assert list(self._points(protocol, trial, "loss").steps) == steps

    def test_a_rewind_supersedes_the_points_of_later_steps(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(6):
            protocol.log_trial_metrics(trial, step=step, loss=step / 2)
        protocol.rewind_trial(trial, 2)
        protocol.log_trial_metrics(trial, step=3, loss=0.25)
        found = self._points(protocol, trial, "loss")
        assert (list(found.steps), list(found.values)) == ([0, 1, 2, 3], [0.0, 0.5, 1.0, 0.25])
        history = protocol.fetch_metrics(trial, "loss", kind="superseded")
        assert (list(history.steps), list(history.values)) == ([3, 4, 5], [1.5, 2.0, 2.5])
        read = self._trial(protocol, trial)
        assert (list(read.metrics), dict(read.chronos)) == (["loss"], {})
        assert [(each["step"], each["points"]) for each in read.metadata["rewinds"]] == [(2, 3)]

    def test_points_that_have_no_number_for_a_step_stay(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in (None, "9", (9,), True, math.inf, 9, 9.5):
            protocol.log_trial_metrics(trial, step=step, loss=1.0)
        protocol.rewind_trial(trial, 0)
        assert list(self._points(protocol, trial, "loss").steps) == [None, "9", (9,), True, math.inf]

    @pytest.mark.parametrize("step", ["3", None, True, math.nan, (1,)])
    def test_a_rewind_to_no_number_is_refused(self, protocol: Protocol, step: Any) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(BadArguments, match="a step that is a number"):
            protocol.rewind_trial(trial, step)

    def test_many_points_are_kept_in_order(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        write = protocol.metric_writer(trial)
        for step in range(20_000):
            write(step, {"a": step * 0.5, "b": -step})
        found = self._points(protocol, trial, "a")
        assert list(found.steps) == list(range(20_000))
        assert list(found.values) == [step * 0.5 for step in range(20_000)]
        assert list(self._points(protocol, trial, "b").values) == [-step for step in range(20_000)]

    def test_an_aggregator_says_how_a_series_reads_back(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for value in (1.0, 2.0, 3.0):
            protocol.log_trial_metrics(trial, aggregator=ValueAggregator.lazy(), last=value)
            protocol.log_trial_metrics(trial, aggregator=StatAggregator.lazy(0), stat=value)
        metrics = self._trial(protocol, trial).metrics
        assert metrics["last"] == 3.0
        assert (metrics["stat"]["avg"], metrics["stat"]["count"]) == (2.0, 3)

    def test_a_chrono_is_counted(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for _ in range(3):
            protocol.log_trial_chrono_start(trial, "epoch")
            protocol.log_trial_chrono_finish(trial, "epoch", None, None, None)
        found = self._trial(protocol, trial).chronos["epoch"]
        assert found["count"] == 3
        assert 0 <= found["min"] <= found["avg"] <= found["max"]
        assert found["unit"] == "s"

    def test_a_series_that_does_not_exist_is_not_found(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(ItemNotFound, match="nothing_here"):
            self._points(protocol, trial, "nothing_here")

    # -- context ---------------------------------------------------------------------------------

    def test_a_context_is_part_of_what_a_series_is(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for phase in ("train", "valid"):
            protocol.log_trial_metrics(trial, 1, context={"split": "a.b", "phase": phase}, loss=len(phase))
        protocol.log_trial_metrics(trial, 1, loss=0.5)
        assert {name: dict(points) for name, points in self._trial(protocol, trial).metrics.items()} == {
            'loss{phase="train",split="a.b"}': {1: 5},
            'loss{phase="valid",split="a.b"}': {1: 5},
            "loss": {1: 0.5},
        }
        found = protocol.fetch_metrics(trial, "loss", context={"phase": "train", "split": "a.b"})
        assert list(found.values) == [5]

    def test_a_series_of_a_context_is_found_by_a_query(self, protocol: Protocol) -> None:
        for name, value in (("good", 0.1), ("bad", 0.9)):
            trial = self._new(protocol, name=name)
            protocol.log_trial_metrics(trial, 1, context={"split": 'a."min'}, loss=value)
        below = {"$lt": 0.5}
        for path in ('metrics.loss{split="a.\\"min"}', 'metrics.loss{split="a.\\"min"}.min'):
            assert [trial.name for trial in protocol.fetch_trials({path: below})] == ["good"]
        assert protocol.fetch_trials({"metrics.loss": below}) == []

    def test_what_is_no_context_is_a_metric_of_that_name(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, 1, context=0.25)
        assert dict(self._trial(protocol, trial).metrics["context"]) == {1: 0.25}

    def test_a_wrong_context_drops_what_it_is_about_and_nothing_else(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, 1, context={"ph ase": "train"}, loss=0.5)
        protocol.log_trial_metrics(trial, 1, context={"phase": []}, loss=0.5)
        protocol.log_trial_metrics(trial, 1, cost=0.5)
        assert list(self._trial(protocol, trial).metrics) == ["cost"]

    # -- media -----------------------------------------------------------------------------------

    def test_media_read_back_with_steps_times_and_content(self, protocol: Protocol, tmp_path: Path) -> None:
        trial = self._new(protocol, name="t")
        (tmp_path / "model.bin").write_bytes(bytes(range(256)) * 1_000)
        protocol.log_trial_media(trial, "histogram", "weights", [0.0, 1.0, math.nan], step=3, bins=2)
        protocol.log_trial_media(trial, "text", "sample", "short", step=1, context={"phase": "train"})
        protocol.log_trial_media(trial, "text", "sample", "long" * 50_000, context={"phase": "train"})
        protocol.log_trial_media(trial, "file", "model", tmp_path / "model.bin")
        weights = protocol.fetch_media(trial, "histogram", "weights")
        assert (list(weights.steps), len(weights.times)) == ([3], 1)
        assert weights.values[0]["counts"] == [1, 1]
        assert (weights.values[0]["n"], weights.values[0]["nan"]) == (3, 1)
        sample = protocol.fetch_media(trial, "text", "sample", context={"phase": "train"})
        assert list(sample.steps) == [1, None]
        assert [sample.content(index) for index in range(2)] == [b"short", b"long" * 50_000]
        (model,) = protocol.fetch_media(trial, "file").values()
        assert model.content(0) == bytes(range(256)) * 1_000
        digest = hashlib.sha256(model.content(0)).hexdigest()
        assert model.values == [{"name": "model.bin", "digest": digest, "size": 256_000}]

    def test_an_image_is_kept_as_the_digest_says(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_media(trial, "image", "x", [[0, 128], [255, 7], [1, 2]], step=1)
        found = protocol.fetch_media(trial, "image", "x")
        document = found.values[0]
        assert [document[side] for side in ("width", "height", "channels")] == [2, 3, 1]
        assert found.content(0).startswith(b"\x89PNG")
        assert hashlib.sha256(found.content(0)).hexdigest() == document["digest"]

    def test_a_trial_tells_of_its_media(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in (2, 5):
            protocol.log_trial_media(trial, "text", "sample", "words", step=step)
        known = self._trial(protocol, trial).media["text"]["sample"]
        assert [known[field] for field in ("count", "first_step", "last_step")] == [2, 2, 5]
        assert dict(self._trial(protocol, trial).metrics) == {}

    def test_equal_contents_are_logged_as_often_as_they_come(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        for step in range(3):
            protocol.log_trial_media(trial, "text", "sample", "same" * 20_000, step=step)
        found = protocol.fetch_media(trial, "text", "sample")
        assert len({value["digest"] for value in found.values}) == 1
        assert [found.content(index) for index in range(3)] == [b"same" * 20_000] * 3

    def test_what_is_no_media_is_dropped_and_nothing_else(self, protocol: Protocol, tmp_path: Path) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_media(trial, "image", "x", [[1.5]])
        protocol.log_trial_media(trial, "text", "x", 5)
        protocol.log_trial_media(trial, "histogram", "x", ["a", object()])
        protocol.log_trial_media(trial, "file", "x", tmp_path / "nothing")
        protocol.log_trial_media(trial, "movie", "x", 5)
        protocol.log_trial_media(trial, "text", "x" * 300, "words")
        protocol.log_trial_media(trial, "text", "y", "words", step={})
        protocol.log_trial_media(trial, "text", "y", "words", context={"a b": "c"})
        protocol.log_trial_media(trial, "text", "z", "words")
        assert {kind: list(names) for kind, names in self._trial(protocol, trial).media.items()} == {
            "text": ["z"]
        }

    def test_media_that_do_not_exist_are_not_found(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        with pytest.raises(ItemNotFound, match="nothing_here"):
            protocol.fetch_media(trial, "image", "nothing_here")
        with pytest.raises(ItemNotFound):
            list(protocol.fetch_blob("0" * 64))
        assert protocol.fetch_media(trial, "image") == {}

    # -- queries ---------------------------------------------------------------------------------

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

    # -- deleting --------------------------------------------------------------------------------

    def test_a_deleted_trial_is_gone_and_deleting_it_again_does_no_harm(self, protocol: Protocol) -> None:
        self._fill(protocol)
        (trial,) = protocol.fetch_trials({"name": "b"})
        assert protocol.delete_trial(trial)
        assert (protocol.get_trial(trial), protocol.fetch_trials({"name": "b"})) == ([], [])
        assert not protocol.delete_trial(trial)
        assert [each.name for each in protocol.fetch_trials({})] == ["a", "c"]

    def test_a_trial_may_be_deleted_by_its_definition_alone(self, protocol: Protocol) -> None:
        self._new(protocol, name="t")
        assert protocol.delete_trial(Trial(name="t"))
        assert protocol.get_trial(Trial(name="t")) == []

    def test_a_trial_that_another_client_runs_is_deleted_by_force_only(
        self, protocol: Protocol, second: Protocol
    ) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_start(trial)
        protocol.log_trial_metrics(trial, step=0, loss=0.5)
        protocol.flush()
        with pytest.raises(TrialInUse, match=trial.uid):
            second.delete_trial(trial)
        assert self._trial(second, trial).metrics["loss"]
        assert second.delete_trial(trial, force=True)
        protocol.log_trial_metrics(trial, step=1, loss=0.25)
        self._new(protocol, name="other")
        assert protocol.get_trial(trial) == []
        rejected = protocol.fetch_rejected()
        assert [(record.code, record.points) for record in rejected] == [("not-found", 1)]

    def test_a_trial_that_has_ended_or_is_ones_own_is_not_in_use(
        self, protocol: Protocol, second: Protocol
    ) -> None:
        for name in ("own", "other"):
            protocol.log_trial_start(self._new(protocol, name=name))
        own, other = protocol.fetch_trials({})
        protocol.log_trial_finish(other)
        protocol.flush()
        assert protocol.delete_trial(own)
        assert second.delete_trial(other)

    # -- durability ------------------------------------------------------------------------------

    def test_a_second_client_sees_what_was_flushed(self, protocol: Protocol, second: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, step=0, loss=0.5)
        protocol.flush()
        assert dict(self._trial(second, trial).metrics["loss"]) == {0: 0.5}

    def test_commit_makes_everything_durable(self, protocol: Protocol, second: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_metrics(trial, loss=0.5)
        protocol.commit()
        assert list(self._trial(second, trial).metrics["loss"]) == [0.5]

    # -- what is copied from elsewhere ----------------------------------------------------------

    def test_a_trial_that_is_put_has_the_id_that_it_was_given_and_is_put_once(
        self, protocol: Protocol
    ) -> None:
        for _ in range(2):
            protocol.put_trial(Trial(name="copied", parameters={"lr": 0.1}, id=b"one copied trial"))
        protocol.put_trial(Trial(name="copied", parameters={"lr": 0.1}, id=b"the other trial."))
        found = protocol.fetch_trials({"name": "copied"})
        assert [(trial.id, trial.revision) for trial in found] == [
            (b"one copied trial", 0),
            (b"the other trial.", 1),
        ]

    def test_points_that_were_observed_earlier_keep_their_times(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_points(trial, "loss", [(1, 100.5, 0.5), (1, 99.0, 0.25), (None, 101.0, None)])
        protocol.log_trial_points(trial, "epoch", [(None, 7.0, 1.5)], kind="chrono")
        series = self._points(protocol, trial, "loss")
        assert list(series.steps) == [1, 1, None]
        assert list(series.times) == [100.5, 99.0, 101.0]
        assert list(series.values) == [0.5, 0.25, None]
        assert list(protocol.fetch_metrics(trial, "epoch", "chrono").times) == [7.0]

    def test_media_that_were_made_earlier_keep_their_time(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        protocol.log_trial_media(trial, "text", "notes", "hello", 1, at=12.5)
        assert list(protocol.fetch_media(trial, "text", "notes").times) == [12.5]

    def test_what_is_never_going_to_be_stored_is_counted(self, protocol: Protocol) -> None:
        trial = self._new(protocol, name="t")
        assert (protocol.unkept, protocol.is_away) == (0, False)
        protocol.log_trial_metrics(trial, bad=object())
        protocol.flush()
        assert protocol.unkept >= 1

    # -- shorthands ------------------------------------------------------------------------------

    def _new(self, protocol: Protocol, **definition: Any) -> Trial:
        trial = protocol.new_trial(Trial(**definition))
        assert trial is not None
        return trial

    def _trial(self, protocol: Protocol, trial: Trial) -> Any:
        (found,) = protocol.get_trial(trial)
        return found

    def _group(self, protocol: Protocol, group: TrialGroup) -> TrialGroup:
        found = protocol.get_trial_group(group)
        assert found is not None
        return found

    def _points(self, protocol: Protocol, trial: Trial, name: str) -> Any:
        return protocol.fetch_metrics(trial, name)

    def _fill(self, protocol: Protocol) -> None:
        a = self._new(protocol, name="a", parameters={"lr": 0.1})
        b = self._new(protocol, name="b", parameters={"lr": 0.2, "only_b": 1})
        c = self._new(protocol, name="c", parameters={"lr": 0.3}, tags={"team": "x"})
        protocol.set_trial_status(b, Status.Running)
        for trial, loss in ((a, 0.9), (b, 0.5), (c, 0.1)):
            protocol.log_trial_metrics(trial, step=0, loss=loss)
