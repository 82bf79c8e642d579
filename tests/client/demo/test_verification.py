from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo_search import STEPS, Search, claim_and_log, search
from track_protocol.model.aggregators import TimeSeriesAggregator


@pytest.fixture
def done() -> Iterator[Search]:
    """Two trials, each trained by a worker of its own."""
    with search(2) as found:
        for uid, worker in zip(found.created, ("worker-1", "worker-2"), strict=True):
            claim_and_log(found, uid, worker)
        yield found


def test_a_store_with_exactly_the_logged_points_has_no_faults(done: Search) -> None:
    proof = done.verify()
    assert proof.faults == []
    assert (proof.trials, proof.lost, proof.doubled) == (2, 0, 0)
    assert proof.logged == proof.stored == 2 * (STEPS + 1 + 2)


def test_a_point_that_was_logged_but_not_stored_is_lost(done: Search) -> None:
    done.reports[0].trials[0].metrics["loss"] += 1
    proof = done.verify()
    assert (proof.lost, proof.doubled) == (1, 0)
    assert proof.logged == proof.stored + 1
    assert len(proof.faults) == 1


def test_a_series_that_never_arrived_is_lost(done: Search) -> None:
    done.reports[0].trials[0].metrics["gradient"] = 3
    assert done.verify().lost == 3


def test_a_point_that_is_stored_twice_is_doubled(done: Search) -> None:
    done.client.set_trial(uid=done.created[0], force=True).log_metrics(STEPS - 1, loss=0.0)
    proof = done.verify()
    assert (proof.lost, proof.doubled) == (0, 1)
    assert len(proof.faults) == 1


def test_a_lost_and_a_doubled_point_do_not_cancel_out(done: Search) -> None:
    done.reports[0].trials[0].metrics["loss"] += 1
    done.client.set_trial(uid=done.created[0], force=True).log_metrics(0, loss=0.0)
    proof = done.verify()
    assert proof.logged == proof.stored
    assert (proof.lost, proof.doubled) == (1, 1)
    assert len(proof.faults) == 1


def test_a_timing_that_no_worker_reported_is_doubled(done: Search) -> None:
    done.reports[1].trials[0].chronos["epoch"] -= 1
    assert done.verify().doubled == 1


def test_a_trial_claimed_by_two_workers_is_a_fault(done: Search) -> None:
    trial = done.client.set_trial(uid=done.created[0], force=True)
    trial.log_metadata(aggregator=TimeSeriesAggregator.lazy(), claimed_by="worker-2")
    assert "'worker-1', 'worker-2'" in "\n".join(done.verify().faults)


def test_a_trial_that_two_workers_say_to_have_got_is_a_fault_though_the_store_knows_of_one(
    done: Search,
) -> None:
    done.reports[1].trials += done.reports[0].trials
    assert "claimed 2 times: by worker-1, worker-2" in "\n".join(done.verify().faults)


def test_a_trial_that_one_worker_got_twice_is_a_fault(done: Search) -> None:
    done.reports[0].trials *= 2
    assert "claimed 2 times: by worker-1, worker-1" in "\n".join(done.verify().faults)


def test_an_unclaimed_trial_is_a_fault() -> None:
    with search(1) as found:
        faults = "\n".join(found.verify().faults)
    assert "claimed 0 times: by no worker" in faults
    assert "CreatedGroup" in faults


def test_a_trial_of_which_nobody_knows_how_much_was_logged_is_not_compared(done: Search) -> None:
    done.reports.pop()
    proof = done.verify(unreported={done.created[1]})
    assert (proof.faults, proof.trials, proof.lost, proof.doubled) == ([], 1, 0, 0)


def test_a_trial_that_is_not_in_the_store_is_a_fault(done: Search) -> None:
    done.created.append("00_0")
    assert "trial 00_0 is missing in the store" in done.verify().faults


def test_a_trial_that_the_demo_did_not_create_is_a_fault(done: Search) -> None:
    uid = done.created.pop()
    assert f"trial {uid} was not created by the demo" in done.verify().faults
