"""Durability, dropped points, deletion and adopted trials."""

from __future__ import annotations

import pytest

from track.persistence.protocol import Protocol
from track.testing.backend_support import BackendSuite
from track_protocol.errors import TrialInUse
from track_protocol.model.entities import Trial

__all__ = ["KeepingTests"]


class KeepingTests(BackendSuite):
    """Part of `BackendContract`."""

    def test_dropped_points_of_a_trial_add_up_in_its_metadata(self, protocol: Protocol) -> None:
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        for points, reason in ((3, "no room"), (1, "not a number"), (4, "no room")):
            protocol.log_trial_dropped_points(trial, points, reason)
        protocol.flush()
        (found,) = protocol.get_trial(trial) or []
        assert found.metadata["dropped_points"] == {"points": 8, "reasons": {"no room": 7, "not a number": 1}}

    def test_nothing_is_rejected_where_everything_fits(self, protocol: Protocol) -> None:
        trial = protocol.new_trial(Trial(name="t"))
        assert trial is not None
        protocol.log_trial_metrics(trial, step=1, loss=0.5)
        protocol.flush()
        assert protocol.fetch_rejected() == protocol.fetch_rejected(trial) == []

    # -- durability -------------------------------------------------------------------------------

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

    # -- deleting ---------------------------------------------------------------------------------

    def test_a_deleted_trial_is_not_found_and_deleting_it_again_does_no_harm(
        self, protocol: Protocol
    ) -> None:
        self._fill(protocol)
        (trial,) = protocol.fetch_trials({"name": "b"})
        assert protocol.delete_trial(trial)
        assert (protocol.get_trial(trial), protocol.fetch_trials({"name": "b"})) == (None, [])
        assert not protocol.delete_trial(trial)
        assert [each.name for each in protocol.fetch_trials({})] == ["a", "c"]

    def test_a_trial_may_be_deleted_by_its_definition_alone(self, protocol: Protocol) -> None:
        self._new(protocol, name="t")
        assert protocol.delete_trial(Trial(name="t"))
        assert protocol.get_trial(Trial(name="t")) is None

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
        assert protocol.get_trial(trial) is None
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

    # -- what is copied from elsewhere ------------------------------------------------------------

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
        assert (protocol.dropped_count, protocol.is_unreachable) == (0, False)
        protocol.log_trial_metrics(trial, bad=object())
        protocol.flush()
        assert protocol.dropped_count >= 1
