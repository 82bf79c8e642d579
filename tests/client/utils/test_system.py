"""What the machine is."""

from __future__ import annotations

from pathlib import Path

import pytest

from track.utils.system import get_gpu_name

PROGRAM = """#!/bin/sh
[ "$1" = --query-gpu=name ] || exit 2
echo "Tesla V100-SXM2-16GB"
echo "Tesla K80"
"""


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


@pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists(), reason="the driver of this machine reports a GPU of its own"
)
class TestWithoutADriver:
    def test_the_first_gpu_that_its_program_lists_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(tmp_path, PROGRAM, monkeypatch)
        assert get_gpu_name() == "Tesla V100-SXM2-16GB"

    @pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\n", "no program at all"])
    def test_there_is_no_gpu_where_the_program_lists_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
    ) -> None:
        install(tmp_path, script, monkeypatch)
        assert get_gpu_name() is None

    def test_there_is_no_gpu_without_the_program(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert get_gpu_name() is None
