"""What the machine does while a trial runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import track
from track import TrackClient
from track.reading.runs import Runs
from track.recording.system import SystemMetrics, _Gpus, system_metrics_in
from track_protocol.errors import UsageError
from waiting import wait_until


@pytest.fixture(autouse=True)
def _needs_psutil() -> None:
    pytest.importorskip("psutil")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TrackClient]:
    with TrackClient(f"sqlite:{tmp_path / 'runs.db'}") as client:
        client.set_project(name="p")
        yield client


def test_a_trial_has_what_the_machine_and_the_process_did(client: TrackClient) -> None:
    with client.new_trial(name="a") as trial:
        trial.log_system_metrics()
    (stored,) = Runs(client.protocol)
    history = stored.history(context={"source": "system"})
    assert {"process_memory_bytes", "memory_percent", "cpu_percent", "disk_percent"} <= set(history["name"])
    assert set(history["step"]) == {None}
    memory = stored.history("process_memory_bytes")["value"]
    assert len(memory) == 2, "one sample at the start, and one at the end"
    assert memory[0] > 1_000_000


def test_the_thread_ends_with_the_trial(client: TrackClient) -> None:
    import threading

    with client.new_trial(name="a") as trial:
        trial.log_system_metrics()
        assert "track-system" in {thread.name for thread in threading.enumerate()}
    assert "track-system" not in {thread.name for thread in threading.enumerate()}


def test_a_second_call_starts_no_second_thread(client: TrackClient) -> None:
    with client.new_trial(name="a") as trial:
        trial.log_system_metrics()
        trial.log_system_metrics()
    (stored,) = Runs(client.protocol)
    assert stored.history("memory_percent").count == 2


def test_samples_are_taken_again_and_again() -> None:
    taken: list[Any] = []
    metrics = SystemMetrics(lambda labels, values: taken.append((labels, values)), 0.001, {"rank": "1"})
    metrics.begin()
    wait_until(lambda: len(taken) > 20, "more samples")
    metrics.end()
    assert all(labels["source"] == "system" and labels["rank"] == "1" for labels, _ in taken)


def test_the_environment_turns_it_on(client: TrackClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACK_SYSTEM_METRICS", "1")
    with client.new_trial(name="a"):
        pass
    (stored,) = Runs(client.protocol)
    assert stored.has("memory_percent")


def test_it_is_off_unless_it_is_asked_for(client: TrackClient) -> None:
    with client.new_trial(name="a"):
        pass
    (stored,) = Runs(client.protocol)
    assert not stored.has("memory_percent")


def test_init_turns_it_on(tmp_path: Path) -> None:
    with track.init(uri=f"sqlite:{tmp_path / 'runs.db'}", system_metrics=True) as run:
        run.log({"loss": 1.0})
    assert track.runs(run.client)[0].has("memory_percent")
    run.client.close()


def test_a_forked_child_continues_and_its_parent_too(client: TrackClient) -> None:
    with client.new_trial(name="a") as trial:
        trial.log_system_metrics()
        child = os.fork()
        if child == 0:
            trial.log_metrics(loss=1.0)
            trial.finish()
            client.protocol.persist(30.0)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    (stored,) = Runs(client.protocol)
    assert stored.has("loss")
    assert stored.history("memory_percent").count == 2


def test_without_its_package_the_training_continues(
    client: TrackClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with client.new_trial(name="a") as trial:
        trial.log_system_metrics()
        trial.log_metrics(loss=1.0)
    assert "pip install 'trackwire[system]'" in caplog.text


def test_a_reading_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def fails() -> None:
        raise OSError("no such file: /proc/diskstats")

    monkeypatch.setattr(psutil, "disk_io_counters", fails)
    taken: list[str] = []
    metrics = SystemMetrics(lambda labels, values: taken.extend(values), 0.001, {})
    metrics.begin()
    wait_until(lambda: taken.count("network_sent_bytes_per_s") > 2, "more samples")
    metrics.end()
    assert "disk_percent" not in taken


class Driver:
    """Two GPUs, as the driver's library reports them; the second does not report its power."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None:  # noqa: N802  # the library's name
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:  # noqa: N802 - NVML's name
        return number

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(gpu=50 + device)

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(used=1024)

    def nvmlDeviceGetTemperature(self, device: int, kind: int) -> int:  # noqa: N802 - NVML's name
        return 60

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:  # noqa: N802 - NVML's name
        if device == 1:
            raise Driver.NVMLError
        return 250_000


def test_each_gpu_has_its_series() -> None:
    (first, second) = _Gpus(Driver()).read(0.0)
    assert first == (
        {"gpu": "0"},
        {"gpu_percent": 50.0, "gpu_memory_bytes": 1024.0, "gpu_temperature_c": 60.0, "gpu_power_w": 250.0},
    )
    assert second[0] == {"gpu": "1"}
    assert "gpu_power_w" not in second[1]


def test_gpus_of_other_jobs_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [labels for labels, _ in _Gpus(Driver()).read(0.0)] == [{"gpu": "1"}]


def test_another_value_of_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="TRACK_SYSTEM_METRICS is 'yes'"):
        system_metrics_in({"TRACK_SYSTEM_METRICS": "yes"})
    monkeypatch.setenv("TRACK_SYSTEM_METRICS", "yes")
    with pytest.raises(UsageError, match="TRACK_SYSTEM_METRICS is 'yes'"):
        TrackClient("none:")
