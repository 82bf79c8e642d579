"""Where the server and stores in files do not run, they say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.platform = "win32"
sys.modules["fcntl"] = None
try:
    import track_server.{module}
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("module", ["embedded", "app", "commands.server"])
def test_windows_is_refused_in_one_sentence(module: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(
        "UsageError the server and stores in files need Linux or macOS: on Windows, use WSL"
    )
    assert run.stdout.count("\n") == 1
