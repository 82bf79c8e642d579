from __future__ import annotations

from demo_search import STEPS, claim_and_log, search
from track.demo.observation import Observation, Phase, Row, observe


def row(number: int, phase: Phase, loss: float | None = None, accuracy: float | None = None) -> Row:
    return Row(number, f"{number}_0", {}, phase, (), loss, accuracy, 0)


def test_a_stored_trial_is_seen_with_its_worker_last_values_and_points() -> None:
    with search(2) as found:
        claim_and_log(found, found.created[0], "worker-3")
        seen = observe(found.client.protocol, found.group)
    first, second = seen.rows
    assert (first.phase, first.workers) == (Phase.FINISHED, ("worker-3",))
    assert (first.loss, first.accuracy) == (1.0 / STEPS, 0.5)
    assert first.points == seen.points == STEPS + 1 + 2
    assert (second.phase, second.workers, second.loss, second.points) == (Phase.WAITING, (), None, 0)


def test_a_trial_that_an_exception_ended_has_failed() -> None:
    with search(1) as found:
        trial = found.client.set_trial(uid=found.created[0], force=True)
        trial.finish(ValueError, ValueError("no"), None)
        assert [each.phase for each in observe(found.client.protocol, found.group).rows] == [Phase.FAILED]


def test_a_trial_that_runs_is_running() -> None:
    with search(1) as found:
        found.client.set_trial(uid=found.created[0], force=True).start()
        assert [each.phase for each in observe(found.client.protocol, found.group).rows] == [Phase.RUNNING]


def test_the_best_are_finished_and_the_most_accurate_then_of_the_lowest_loss() -> None:
    seen = Observation(
        (
            row(1, Phase.FINISHED, 0.5, 0.9),
            row(2, Phase.RUNNING, 0.0, 1.0),
            row(3, Phase.FINISHED, 0.1, 0.9),
            row(4, Phase.FINISHED, 0.9, 0.95),
            row(5, Phase.FINISHED),
        )
    )
    assert [each.number for each in seen.best(5)] == [4, 3, 1]
    assert [each.number for each in seen.best(1)] == [4]


def test_a_search_has_begun_with_the_first_claim() -> None:
    waiting, running = row(1, Phase.WAITING), row(2, Phase.RUNNING)
    assert not Observation((waiting,)).has_begun
    assert Observation((waiting, running)).has_begun
