"""Statistics that processes share."""

from __future__ import annotations

import copy
import ctypes
import json
import multiprocessing
import pickle
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any

import pytest

from track.serialization import from_json, to_json
from track.utils.shared import PIECE_BYTES
from track.utils.stat import StatStream, StatStreamStruct
from track_protocol.errors import BadValue

EACH = 2000


def observe(stream: StatStream, value: float, together: Any) -> None:
    together.wait(60)
    for _ in range(EACH):
        stream.update(value)


def add_to_struct(shared: Any) -> None:
    for _ in range(EACH):
        with shared.get_lock():
            shared.sum += 1


def take_and_keep(stream: StatStream, has_it: Any) -> None:
    with stream._piece.locked():
        has_it.set()
        multiprocessing.Event().wait()


def observe_in_both(stream: StatStream) -> None:
    stream.update(1.0)
    StatStream(0).update(2.0)


@pytest.fixture(params=["spawn", "forkserver"])
def context(request: pytest.FixtureRequest) -> Any:
    return multiprocessing.get_context(request.param)


def run_all(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_observations_of_two_processes_count_in_both(
    context: SpawnContext | ForkServerContext,
) -> None:
    stream, together = StatStream(0), context.Barrier(2)
    run_all([context.Process(target=observe, args=(stream, value, together)) for value in (1.0, 3.0)])
    assert (stream.count, stream.total, stream.avg, stream.sd) == (2 * EACH, 4.0 * EACH, 2.0, 1.0)
    assert (stream.min, stream.max) == (1.0, 3.0)


def test_the_structure_itself_can_be_in_shared_memory() -> None:
    context = multiprocessing.get_context("spawn")
    shared: Any = context.Value(StatStreamStruct)
    run_all([context.Process(target=add_to_struct, args=(shared,)) for _ in range(2)])
    assert shared.get_obj().sum == 2 * EACH


def held_by_another(stream: StatStream) -> Any:
    """A process that has taken the lock."""
    context = multiprocessing.get_context("spawn")
    has_it = context.Event()
    process = context.Process(target=take_and_keep, args=(stream, has_it))
    process.start()
    assert has_it.wait(60)
    return process


def test_a_killed_process_releases_the_lock(caplog: pytest.LogCaptureFixture) -> None:
    stream = StatStream(0)
    process = held_by_another(stream)
    process.kill()
    process.join()
    stream.update(2.0)
    assert (stream.avg, caplog.text) == (2.0, "")


def test_a_stopped_process_with_the_lock_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = StatStream(0)
    process = held_by_another(stream)
    stream.update(2.0)
    assert (stream.avg, len(caplog.records)) == (2.0, 1)
    process.kill()
    process.join()


def test_a_fork_shares_existing_streams_and_has_its_own_new_ones() -> None:
    stream = StatStream(0)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=observe_in_both, args=(stream,))
    child.start()
    mine = StatStream(0)
    child.join()
    assert (child.exitcode, stream.count, mine.count) == (0, 1, 0)


def test_the_first_observation_is_subtracted_so_that_the_variance_is_exact() -> None:
    stream = StatStream(0)
    for value in (1e9 + 1, 1e9 + 2, 1e9 + 3):
        stream.update(value)
    assert stream.var == pytest.approx(2 / 3)
    assert (stream.struct.first_obs, stream.struct.sum, stream.struct.sum_sqr) == (1e9 + 1, 3, 5)


def test_the_first_ten_observations_are_left_out() -> None:
    stream = StatStream()
    for value in [100.0] * 10 + [1.0, 3.0]:
        stream.update(value)
    assert stream.to_array() == [2.0, 1.0, 1.0, 3.0, 2]
    assert stream.to_array(lambda value: value * 10) == [20.0, 10.0, 10.0, 30.0, 2]
    assert (stream.val, stream.current_obs, stream.current_count, stream.drop_obs) == (3.0, 3.0, 12, 10)


def test_a_weight_counts_as_that_many_observations() -> None:
    stream = StatStream(0)
    stream.update(1.0, weight=3)
    stream.update(5.0)
    assert (stream.avg, stream.count, stream.sum_sqr) == (2.0, 4, 28.0)
    with pytest.raises(BadValue, match="weight"):
        stream.update(1.0, 0)


def test_it_continues_from_its_state() -> None:
    stream = StatStream(1)
    for value in (9.0, 1.0, 2.0):
        stream.update(value)
    again = StatStream.from_dict(stream.state_dict())
    again.update(6.0)
    assert (again.avg, again.count, stream.count) == (3.0, 3, 2)
    assert again.to_dict()["unit"] == "s"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])  # noqa: S301  # our own bytes
def test_a_copy_is_independent(copied: Any) -> None:
    stream = StatStream(0)
    stream.update(1.0)
    other = copied(stream)
    other.update(3.0)
    assert (stream.count, other.count, other.avg) == (1, 2, 2.0)


def test_it_is_reported_as_other_statistics_are() -> None:
    stream = StatStream(0)
    stream.update(2.0)
    short = to_json(stream, short=True)
    assert short == {"avg": 2.0, "min": 2.0, "max": 2.0, "sd": 0.0, "count": 1, "unit": "s"}
    assert from_json(to_json(stream)).avg == 2.0


def test_the_structure_has_the_documented_fields() -> None:
    names = ["sum", "sum_sqr", "first_obs", "current_obs", "current_count", "drop_obs", "min", "max"]
    assert StatStreamStruct._fields_ == [(name, ctypes.c_double) for name in names]
    assert ctypes.sizeof(StatStreamStruct) == PIECE_BYTES


def test_more_streams_than_a_page_holds_do_not_touch_each_other() -> None:
    streams = [StatStream(0) for _ in range(200)]
    for value, stream in enumerate(streams):
        stream.update(value)
    assert [stream.avg for stream in streams] == list(range(200))


def test_a_stream_is_json_text() -> None:
    stream = StatStream(0)
    stream.update(2.0)
    assert json.loads(stream.to_json()) == stream.to_dict()


def test_observations_and_streams_are_added() -> None:
    stream, other = StatStream(0), StatStream(0)
    other += 5.0
    stream += 1.0
    stream += other
    assert (stream.avg, stream.count) == (3.0, 2)
