"""The wheel: what is in it, and that it works where nothing else of this checkout is."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "track_protocol": ROOT / "protocol" / "track_protocol",
    "track": ROOT / "client" / "track",
    "track_server": ROOT / "server" / "track_server",
}

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a program that must succeed, with nothing of this pytest run inherited."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON", "COV_"))}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """Paths of all files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def dist_info(wheel: Path, file: str) -> str:
    """Text of one file of the wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f".dist-info/{file}"))
        return archive.read(name).decode()


def install(wheel: Path, folder: Path, cwd: Path) -> None:
    """Unpack the wheel, and nothing else, into `folder`."""
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    run(sys.executable, "-m", "pip", "install", *offline, "--target", folder, wheel, cwd=cwd)


def test_the_wheel_holds_the_three_packages_and_its_metadata_alone(wheel: Path, names: set[str]) -> None:
    version = wheel.name.split("-")[1]
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, f"trackwire-{version}.dist-info"}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_a_package(names: set[str], package: str) -> None:
    folder = PACKAGES[package]
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    sources = {f"{package}/{path.relative_to(folder).as_posix()}" for path in files}
    assert {name for name in names if name.startswith(f"{package}/")} == sources


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_says_that_its_packages_are_typed(names: set[str], package: str) -> None:
    assert f"{package}/py.typed" in names


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    assert dist_info(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_every_entry_point_names_a_module_of_the_wheel(wheel: Path, names: set[str]) -> None:
    groups = configparser.ConfigParser(delimiters=["="])
    groups.read_string(dist_info(wheel, "entry_points.txt"))
    ours = {"track.backends", "track.board", "track.commands", "track.server"}
    assert {*groups.sections()} == {"console_scripts", *ours}
    modules = {value.partition(":")[0] for group in groups.values() for value in group.values()}
    files = {f"{name.replace('.', '/')}{end}" for name in modules for end in (".py", "/__init__.py")}
    assert len(files & names) == len(modules), f"missing: {sorted(modules)}"


def test_an_editable_install_is_a_plain_list_of_the_source_roots(tmp_path: Path) -> None:
    program = f"import hatchling.build; hatchling.build.build_editable({str(tmp_path)!r})"
    run(sys.executable, "-c", program, cwd=ROOT)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        (paths,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth"))
    assert {*paths.split()} == {str(package.parent) for package in PACKAGES.values()}


def needed_by(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that `requirements` bring with them, as installed here."""
    found: set[str] = set()
    pending = [Requirement(text) for text in requirements]
    while pending:
        requirement = pending.pop()
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name not in found:
            found.add(requirement.name)
            pending += map(Requirement, importlib.metadata.requires(requirement.name) or [])
    return found


def link(distribution: str, site: Path) -> None:
    """Make one distribution that is installed here visible in another environment."""
    here = importlib.metadata.distribution(distribution)
    tops = {file.parts[0] for file in here.files or [] if ".." not in file.parts}
    for top in tops - {"__pycache__"}:
        (site / top).symlink_to(str(here.locate_file(top)))


@pytest.fixture
def client_only(wheel: Path, tmp_path: Path) -> Path:
    """Python of a new environment with the wheel and its base requirements: what ``pip install`` gives."""
    environment = tmp_path / "client-only"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    install(wheel, site, tmp_path)
    metadata = dist_info(wheel, "METADATA").splitlines()
    for name in needed_by(line.split(": ", 1)[1] for line in metadata if line.startswith("Requires-Dist")):
        link(name, site)
    return python


def test_the_base_install_imports_the_client_and_lacks_the_server(client_only: Path, tmp_path: Path) -> None:
    program = (
        "import importlib.util, json, track, cryptography.x509, msgpack, scramp\n"
        "absent = [m for m in ('apsw', 'uvloop', 'numpy', 'rich') if importlib.util.find_spec(m) is None]\n"
        "print(json.dumps(absent))"
    )
    absent = json.loads(run(client_only, "-c", program, cwd=tmp_path))
    assert absent == ["apsw", "uvloop", "numpy", "rich"]


def test_the_base_install_names_the_extra_that_a_local_store_needs(client_only: Path, tmp_path: Path) -> None:
    program = (
        "from track import TrackClient\n"
        "from track_protocol.errors import MissingExtra\n"
        "try:\n"
        "    TrackClient('sqlite:runs.db')\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    assert "trackwire[server]" in run(client_only, "-c", program, cwd=tmp_path)
