"""Properties of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any, Final

__all__ = ["get_gpu_name"]

_SECONDS: Final = 5.0
_DRIVER: Final = Path("/proc/driver/nvidia/gpus")


def get_gpu_name() -> str | None:
    """The name of the GPU that this process computes on, such as ``Tesla V100-SXM2-16GB``; None without one.

    A torch that the program has loaded is asked first, since it knows the current device; then the first
    GPU counts that the driver or ``nvidia-smi`` report.
    """
    return _from_torch(sys.modules.get("torch")) or _from_driver() or _from_program()


def _from_torch(torch: Any) -> str | None:
    try:
        return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else None
    except (AttributeError, RuntimeError):  # half imported, or a driver that does not fit
        return None


def _from_driver() -> str | None:
    for file in sorted(_DRIVER.glob("*/information")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == "Model" and value.strip():
                return value.strip()
    return None


def _from_program() -> str | None:
    program = which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        run = subprocess.run(  # noqa: S603  # the driver's own program, as the shell would find it
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return next((line.strip() for line in run.stdout.splitlines() if line.strip()), None)
