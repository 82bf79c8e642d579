"""Who may import whom, read from every source file.

A package may import the layers below it (`LAYERS`).  Inside a package the rooms form a strict order
(`ROOMS`): a module imports from its own room and from rooms before it, also where an import is deferred
into a function, and no modules import each other in a circle.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "track_protocol": ROOT / "protocol" / "track_protocol",
    "track": ROOT / "client" / "track",
    "track_server": ROOT / "server" / "track_server",
}

BASE = {"msgpack", "cryptography", "scramp", "asn1crypto"}


@dataclass(frozen=True)
class Layer:
    """What the modules at or below `prefix` may import besides the standard library and themselves."""

    prefix: str
    may_import: frozenset[str]


LAYERS = [
    Layer("track_protocol", frozenset(BASE)),
    Layer("track_protocol.testing", frozenset({"track"})),  # the documented path of a suite of the client's
    Layer("track", frozenset({"track_protocol", *BASE})),
    Layer("track.testing", frozenset({"pytest"})),  # shipped suite, run by a backend's authors
    Layer("track_server.testing", frozenset({"pytest"})),  # the same for a store
    Layer("track.client", frozenset({"torch"})),  # asked for a device, if it is there
    Layer("track.media", frozenset({"numpy"})),  # how pixels and numbers come, if it is there
    Layer("track.reading", frozenset({"matplotlib", "numpy", "pandas", "polars"})),  # extra `notebook`
    Layer("track.recording.system", frozenset({"psutil", "pynvml"})),  # extra `system`
    Layer("track.provider", frozenset({"pydantic", "pydantic_core"})),  # extra `provider`
    Layer("track.provider.aim", frozenset({"aim"})),  # extra `aim`
    Layer("track.persistence.cometml", frozenset({"comet_ml"})),  # extra `comet`
    Layer("track.cli", frozenset({"shtab"})),  # extra `cli`
    Layer("track.commands", frozenset({"rich", "pyarrow"})),  # extras `cli` and `export`
    Layer("track.simpleboard", frozenset({"starlette", "orjson"})),  # extra `board`
    Layer("track.demo", frozenset({"rich", "sklearn", "numpy"})),  # extra `demo`
    Layer("track_server", frozenset({"track_protocol", "uvloop", "apsw", "zstandard", *BASE})),
    Layer("track_server.storage.postgres", frozenset({"psycopg"})),  # extra `postgres`
    Layer("track_server.http", frozenset({"starlette", "uvicorn", "h11", "orjson"})),  # extra `board`
    Layer("track_server.board", frozenset({"starlette"})),
]

# The rooms of each package, each before those that may import it.  The longest name that fits says in which
# room a module is, so a module may have a place of its own in the order: `SocketServer` and the process
# around it are given what `app` has put together.
ROOMS = {
    "track_protocol": (
        "security.tokens terminal errors loopback locations uri command security model query wire board",
        "track_protocol testing",
    ),
    "track": (
        "configuration structure serialization versioning containers aggregators",
        "process utils spool connection outbox resend media persistence reading testing",
        "chrono recording logger client api tracker simpleboard track provider commands demo distributed cli",
    ),
    "track_server": (
        "storage stores methods engine accounts network http board",
        "app embedded report boards network.server network.process track_server commands testing",
    ),
}

CONCRETE = (
    "track_server.storage.sqlite",
    "track_server.storage.postgres",
    "track_server.storage.json_",
    "track_server.storage.ephemeral",
)
MAY_NAME_CONCRETE = {
    "track_server.stores",  # the table of schemes
    *CONCRETE,
}

# Sockets, threads, processes and clocks: what the shared layer leaves to the client and the server.
OUTSIDE_WORLD = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "select",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

NOT_LOADED_BY_THE_CLIENT = [
    "apsw",
    "asyncio",
    "cryptography",
    "matplotlib",
    "multiprocessing",
    "numpy",
    "pandas",
    "polars",
    "psutil",
    "pyarrow",
    "pydantic",
    "pynvml",
    "rich",
    "scramp",
    "ssl",
    "starlette",
    "track.api",
    "track.client",
    "track.reading",
    "track_server",
    "uvicorn",
    "uvloop",
    "zstandard",
]


def sources() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


SOURCES = sources()


def is_within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, at any depth, as a statement or by a literal name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(names=names, level=level):
                base = importlib.util.resolve_name("." * level + (node.module or ""), package)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, importlib.util.resolve_name(name, package)


def forbidden_import(module: str, imported: str) -> bool:
    """Whether `imported` lies in a layer that `module` may not use."""
    top = imported.partition(".")[0]
    allowed = {name for layer in LAYERS if is_within(module, layer.prefix) for name in layer.may_import}
    return top not in allowed and top not in sys.stdlib_module_names and top != module.partition(".")[0]


def forbidden_backend(module: str, imported: str) -> bool:
    """Whether `module` names a concrete backend without being one of the files that wire them."""
    allowed = module.startswith(tuple(MAY_NAME_CONCRETE))
    return imported.startswith(CONCRETE) and not allowed


def forbidden_io(module: str, imported: str) -> bool:
    """Whether a module of the shared layer reaches for the outside world; the shipped suite may."""
    shared = is_within(module, "track_protocol") and not is_within(module, "track_protocol.testing")
    return shared and imported.partition(".")[0] in OUTSIDE_WORLD


@cache
def rooms(package: str) -> tuple[str, ...]:
    return tuple(" ".join(ROOMS[package]).split())


@cache
def room_of(module: str) -> int | None:
    """The place of a module's room in the order of its package."""
    package, _, inside = module.partition(".")
    known = [room for room in rooms(package) if is_within(inside or package, room)]
    return rooms(package).index(max(known, key=len)) if known else None


def source_of(imported: str) -> str | None:
    """The module of ours that an imported name belongs to."""
    while imported and imported not in SOURCES:
        imported = imported.rpartition(".")[0]
    return imported or None


def forbidden_room(module: str, imported: str) -> bool:
    """Whether `imported` lies in a room behind that of `module`, in the same package."""
    there = source_of(imported)
    if there is None or there.partition(".")[0] != module.partition(".")[0]:
        return False
    return (room_of(there) or 0) > (room_of(module) or 0)


def imported_by(module: str) -> set[str]:
    """The modules of ours that one imports."""
    path = SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = {source_of(name) for _, name in imports(ast.parse(path.read_text()), package)}
    return {name for name in found if name is not None} - {module}


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules of which each imports the next, and the last the first; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def violations(
    module: str, source: str, forbidden: Callable[[str, str], bool], *, is_package: bool = False
) -> list[str]:
    """One line for each import of `module` that is `forbidden`."""
    package = module if is_package else module.rpartition(".")[0]
    found = imports(ast.parse(source), package)
    return [f"{module}:{line} imports {name}" for line, name in found if forbidden(module, name)]


def violations_of(module: str, forbidden: Callable[[str, str], bool]) -> list[str]:
    path = SOURCES[module]
    return violations(module, path.read_text(), forbidden, is_package=path.name == "__init__.py")


def all_violations(forbidden: Callable[[str, str], bool]) -> list[str]:
    return [line for module in SOURCES for line in violations_of(module, forbidden)]


def test_a_module_imports_only_from_the_layers_below_it() -> None:
    assert all_violations(forbidden_import) == []


def test_only_the_wiring_names_concrete_backends() -> None:
    assert all_violations(forbidden_backend) == []


def test_the_shared_layer_does_no_io() -> None:
    assert all_violations(forbidden_io) == []


def test_every_module_has_a_room() -> None:
    assert [module for module in SOURCES if room_of(module) is None] == []


def test_a_room_imports_only_from_the_rooms_before_it() -> None:
    assert all_violations(forbidden_room) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle_in({module: imported_by(module) for module in SOURCES}) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("track.client", "import track_server"),
        ("track.client", "import os, track_server.engine.engine as engine"),
        ("track.client", "def open():\n    from track_server.embedded import open_file"),
        ("track.client", "import importlib\nimportlib.import_module('track_server.embedded')"),
        ("track.client", "__import__('track_server')"),
        ("track.client", "import rich"),
        ("track_server.engine.engine", "from track.client import TrackClient"),
        ("track_server.engine.engine", "if True:\n    import track"),
        ("track_protocol.wire.frames", "from track import TrackClient"),
        ("track_protocol.wire.frames", "import track_server.app"),
        ("track_protocol.wire.frames", "import numpy"),
    ],
)
def test_an_import_against_the_direction_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source, forbidden_import)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import track_server.storage.sqlite.store",
        "from track_server.storage.sqlite.store import SqliteStore",
        "from track_server.storage import sqlite",
        "def open():\n    from track_server.storage.sqlite.store.store import Store",
    ],
)
def test_a_backend_named_outside_the_wiring_is_seen(source: str) -> None:
    assert len(violations("track_server.engine.engine", source, forbidden_backend)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("track.spool.writer", "from track.outbox import Outbox"),
        ("track.outbox.sender", "def replay():\n    from track.resend.replay import replay"),
        ("track.persistence.remote", "from track.client import TrackClient"),
        ("track_server.storage.chunks", "import track_server.engine.engine"),
        ("track_server.network.session", "from track_server import app"),
        ("track_protocol.model.values", "from track_protocol.wire import codec"),
    ],
)
def test_an_import_that_runs_up_the_rooms_is_seen(module: str, source: str) -> None:
    assert len(violations(module, source, forbidden_room)) == 1


def test_a_circle_is_seen() -> None:
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize("source", ["import socket", "def now():\n    from time import time"])
def test_io_in_the_shared_layer_is_seen(source: str) -> None:
    assert len(violations("track_protocol.wire.frames", source, forbidden_io)) == 1


@pytest.mark.parametrize(
    "source", ["import os.path", "from track_protocol.errors import TrackError", "from . import app"]
)
def test_an_import_along_the_direction_passes(source: str) -> None:
    assert violations("track_server.engine.engine", source, forbidden_import) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_source_root_is_not_itself_a_package(package: str) -> None:
    assert not (PACKAGES[package].parent / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


@cache
def loaded_by(statement: str) -> frozenset[str]:
    """Modules that `statement` adds in a fresh interpreter."""
    program = f"import json, sys\nbefore = set(sys.modules)\n{statement}\n"
    program += "print(json.dumps(sorted(set(sys.modules) - before)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return frozenset(json.loads(run.stdout))


@pytest.mark.parametrize("heavy", NOT_LOADED_BY_THE_CLIENT)
def test_importing_the_client_does_not_load(heavy: str) -> None:
    assert not {module for module in loaded_by("import track") if is_within(module, heavy)}


@pytest.mark.parametrize("scheme", ["file", "sqlite", "ephemeral"])
def test_a_store_in_the_process_loads_no_encryption(tmp_path: Path, scheme: str) -> None:
    # A connection's room imports all it needs; a tenth of a second that other stores must not pay.
    path = "" if scheme == "ephemeral" else tmp_path / "runs"
    loaded = loaded_by(f"from track import TrackClient; TrackClient({f'{scheme}:{path}'!r}).close()")
    assert not {
        module for module in loaded if is_within(module, "cryptography") or is_within(module, "scramp")
    }


def test_a_module_that_an_import_loads_is_seen() -> None:
    assert {"track", "ssl"} <= loaded_by("import track, ssl")
