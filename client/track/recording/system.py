"""What the machine and this process do while a trial runs, as series with the label ``source="system"``.

| series | value |
| --- | --- |
| ``process_cpu_percent`` | of one processor, so that it may be above 100 |
| ``process_memory_bytes`` | resident memory |
| ``cpu_percent``, ``memory_percent`` | of the machine |
| ``disk_percent`` | how full the disk of the current folder is |
| ``disk_read_bytes_per_s``, ``disk_write_bytes_per_s`` | of all disks |
| ``network_received_bytes_per_s``, ``network_sent_bytes_per_s`` | of all interfaces |
| ``gpu_percent``, ``gpu_memory_bytes``, ``gpu_temperature_c``, ``gpu_power_w`` | with the label ``gpu`` |

The points have no step: a trial that is rewound to a step keeps them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from track.configuration import switched_on

__all__ = ["SYSTEM", "SystemMetrics", "system_metrics_in"]

_log: Final = logging.getLogger("track")

SYSTEM: Final[Mapping[str, str]] = {"source": "system"}
"""The labels of all these series."""

_END_TIMEOUT_S: Final = 2.0
"""How long the end of a trial waits for the last sample."""

Store = Callable[[Mapping[str, str], Mapping[str, float]], None]
"""Takes labels and values by name."""

Sample = tuple[Mapping[str, str], Mapping[str, float]]
"""Values by name, with the labels that they have besides `SYSTEM`."""

Reader = Callable[[float], Iterator[Sample]]
"""Given the seconds since it was last asked; gives nothing the first time when it needs two readings."""


def system_metrics_in(environment: Mapping[str, str]) -> bool:
    """Whether trials log what the machine does.

    Raises:
        UsageError: the variable is neither 1 nor 0.
    """
    return switched_on(environment, "TRACK_SYSTEM_METRICS")


class SystemMetrics:
    """A thread that reads and stores them; a forked child has none.

    Args:
        store: stores a sample.
        interval: seconds between two samples.
        labels: of all series, besides those of `SYSTEM`.
    """

    def __init__(self, store: Store, interval: float, labels: Mapping[str, str]) -> None:
        self._store = store
        self._interval = interval
        self._labels = {**SYSTEM, **labels}
        self._ended = threading.Event()
        self._readers: list[Reader] = []
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="track-system", daemon=True)

    def begin(self) -> None:
        """Start the thread.

        A package that is not installed is named in a warning: the training continues without.
        """
        # Here and not in the thread: a fork during an import leaves its lock held in the child.
        try:
            import psutil
        except ImportError as error:
            _log.warning(
                "system metrics are not logged, because psutil is not installed (%s): "
                "pip install 'trackwire[system]'",
                error,
            )
            return
        self._readers = [_Processor(psutil).read, _Disk(psutil).read, _Network(psutil).read]
        try:
            import pynvml
        except ImportError:
            pass  # most machines have none of these GPUs, and need no package for them
        else:
            self._readers.append(_Gpus(pynvml).read)
        self._thread.start()

    def end(self) -> None:
        """Store a last sample, and stop."""
        self._ended.set()
        if self._thread.is_alive() and self._pid == os.getpid():
            self._thread.join(_END_TIMEOUT_S)

    def _run(self) -> None:
        last = time.monotonic()
        self._sample(0.0)
        is_last = False
        while not is_last:
            is_last = self._ended.wait(self._interval)
            now = time.monotonic()
            self._sample(now - last)
            last = now

    def _sample(self, seconds: float) -> None:
        for reader in list(self._readers):
            try:
                for labels, values in reader(seconds):
                    self._store({**self._labels, **labels}, values)
            except Exception as error:  # noqa: BLE001  # drivers and /proc of containers fail in all ways
                self._readers.remove(reader)
                _log.info("a system metric is not logged any more: %s", error)


class _Processor:
    """Processor and memory of the machine and of this process."""

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._process = psutil.Process()

    def read(self, seconds: float) -> Iterator[Sample]:
        used = {
            "process_cpu_percent": float(self._process.cpu_percent(None)),
            "cpu_percent": float(self._psutil.cpu_percent(None)),
        }
        memory = {
            "process_memory_bytes": float(self._process.memory_info().rss),
            "memory_percent": float(self._psutil.virtual_memory().percent),
        }
        yield {}, {**memory, **(used if seconds else {})}


class _Rates:
    """Counters that only grow, as amounts a second."""

    def __init__(self) -> None:
        self._before: Mapping[str, int] = {}

    def of(self, now: Mapping[str, int], seconds: float) -> dict[str, float]:
        """What was added a second; empty the first time."""
        before, self._before = self._before, now
        if not seconds:
            return {}
        return {name: max(0, value - before.get(name, value)) / seconds for name, value in now.items()}


class _Disk:
    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._rates = _Rates()

    def read(self, seconds: float) -> Iterator[Sample]:
        found = self._psutil.disk_io_counters()
        counted = (
            {}
            if found is None
            else {
                "disk_read_bytes_per_s": found.read_bytes,
                "disk_write_bytes_per_s": found.write_bytes,
            }
        )
        full = {"disk_percent": float(self._psutil.disk_usage(".").percent)}
        yield {}, {**full, **self._rates.of(counted, seconds)}


class _Network:
    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._rates = _Rates()

    def read(self, seconds: float) -> Iterator[Sample]:
        found = self._psutil.net_io_counters()
        counted = (
            {}
            if found is None
            else {
                "network_received_bytes_per_s": found.bytes_recv,
                "network_sent_bytes_per_s": found.bytes_sent,
            }
        )
        if rates := self._rates.of(counted, seconds):
            yield {}, rates


class _Gpus:
    """Those of NVIDIA that this process may use."""

    def __init__(self, pynvml: Any) -> None:
        self._pynvml = pynvml
        self._devices: dict[str, Any] | None = None

    def read(self, seconds: float) -> Iterator[Sample]:
        if self._devices is None:
            # In the thread: the driver may take a second for it.
            self._pynvml.nvmlInit()
            count = self._pynvml.nvmlDeviceGetCount()
            self._devices = {
                str(number): self._pynvml.nvmlDeviceGetHandleByIndex(number) for number in _visible(count)
            }
        for number, device in self._devices.items():
            yield {"gpu": number}, dict(self._values(device))

    def _values(self, device: Any) -> Iterator[tuple[str, float]]:
        nvml = self._pynvml
        readings: dict[str, Callable[[], float]] = {
            "gpu_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu,
            "gpu_memory_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(device).used,
            "gpu_temperature_c": lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
            "gpu_power_w": lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1000,
        }
        for name, read in readings.items():
            try:
                yield name, float(read())
            except nvml.NVMLError:
                pass  # not every GPU reports everything


def _visible(count: int) -> list[int]:
    """Numbers of the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves; all of them where it has no numbers."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    numbers = [int(name) for name in named if name.strip().isdecimal()]
    return [number for number in numbers if number < count] if numbers else list(range(count))
