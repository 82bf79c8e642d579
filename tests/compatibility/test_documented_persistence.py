"""Every documented name below ``track.persistence`` is there and takes the documented arguments."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from every_case import every
from running_server import serving
from track.persistence import get_protocol, register
from track.persistence.protocol import Protocol
from track.persistence.socketed import RPCCallFailure, SocketClient, SocketServer, start_track_server
from track.persistence.storage import LocalStorage
from track.process.signals import SignalHandler
from track_protocol.errors import PermissionDenied, UnknownMethod, UsageError
from track_protocol.model.entities import Project
from track_protocol.wire.roles import Role
from track_server.app import Settings

ROOT = Path(__file__).parents[2]

CALLS = {
    "add_group_trial": ["group", "trial"],
    "add_project_trial": ["project", "trial"],
    "add_trial_tags": ["trial", "**kwargs"],
    "commit": ["**kwargs"],
    "fetch_and_update_group": ["query", "attr", "*args", "**kwargs"],
    "fetch_and_update_trial": ["query", "attr", "*args", "**kwargs"],
    "fetch_groups": ["query"],
    "fetch_projects": ["query"],
    "fetch_trials": ["query"],
    "get_project": ["project"],
    "get_trial": ["trial"],
    "get_trial_group": ["group"],
    "log_trial_arguments": ["trial", "**kwargs"],
    "log_trial_chrono_finish": ["trial", "name", "exc_type", "exc_val", "exc_tb"],
    "log_trial_chrono_start": ["trial", "name", "aggregator", "start_callback", "end_callback"],
    "log_trial_finish": ["trial", "exc_type", "exc_val", "exc_tb"],
    "log_trial_metadata": ["trial", "aggregator", "**kwargs"],
    "log_trial_metrics": ["trial", "step", "aggregator", "**kwargs"],
    "log_trial_start": ["trial"],
    "new_project": ["project"],
    "new_trial": ["trial", "auto_increment"],
    "new_trial_group": ["group"],
    "set_trial_status": ["trial", "status", "error"],
}

FUNCTIONS: dict[str, dict[str, list[str]]] = {
    "track.persistence": {
        "get_protocol": ["backend_name"],
        "make_cockroach_protocol": ["uri"],
        "make_comet_ml": ["uri"],
        "make_ephemeral_protocol": ["uri"],
        "make_local": ["uri", "strict", "eager"],
        "make_mongodb_protocol": ["uri"],
        "make_pickled_protocol": ["uri"],
        "make_socket_protocol": ["uri"],
        "register": ["name", "proto"],
    },
    "track.persistence.local": {
        "ConcurrentWrite": ["msg"],
        "FileProtocol": ["uri", "strict", "eager"],
        "LockFileRemover": ["filename"],
        "MultiLock": ["obj"],
        "execute_query": ["obj", "query"],
        "lock_atomic_write": ["fun"],
        "lock_guard": ["readonly", "atomic"],
        "lock_read": ["fun"],
        "lock_write": ["fun"],
        "make_lock": ["name", "eager"],
        "query_gt": ["obj", "attrs", "val"],
        "query_in": ["obj", "attrs", "choices"],
        "query_lte": ["obj", "attrs", "val"],
        "query_ne": ["obj", "attrs", "val"],
    },
    "track.persistence.multiplexer": {"ProtocolMultiplexer": ["*backends"]},
    "track.persistence.protocol": {"Protocol": []},
    "track.persistence.socketed": {
        "RPCCallFailure": ["message", "trace"],
        "ServerSignalHandler": ["server"],
        "SocketClient": ["uri"],
        "SocketServer": ["uri"],
        "read": ["reader", "timeout"],
        "recv": ["socket", "timeout"],
        "send": ["socket", "msg"],
        "start_track_server": ["protocol", "hostname", "port", "security_layer", "backend"],
        "to_bytes": ["message"],
        "to_obj": ["message"],
        "write": ["writer", "msg"],
    },
    "track.persistence.storage": {"load_database": ["json_name"]},
    "track.persistence.utils": {"parse_options": ["options"], "parse_uri": ["uri"]},
}

METHODS: dict[tuple[str, str], dict[str, list[str]]] = {
    ("track.persistence.local", "FileProtocol"): {
        **CALLS,
        "commit": ["file_name_override", "**kwargs"],
        "set_group_metadata": ["group", "**kwargs"],
    },
    ("track.persistence.multiplexer", "ProtocolMultiplexer"): CALLS,
    ("track.persistence.protocol", "Protocol"): CALLS,
    ("track.persistence.socketed", "SocketClient"): {**CALLS, "authenticate": ["uri"]},
    ("track.persistence.socketed", "SocketServer"): {
        "authenticate": ["reader", "username", "password"],
        "close": [],
        "close_connection": ["writer"],
        "exec": ["reader", "writer", "proc_name", "proc", "args", "cache"],
        "get_username": ["reader"],
        "handle_client": ["reader", "writer"],
        "is_authenticated": ["reader"],
        "process_args": ["args", "cache"],
        "run_server": [],
        "wait_closed": ["writer"],
    },
    ("track.persistence.storage", "LocalStorage"): {
        "commit": ["file_name_override", "**kwargs"],
        "get_current_version_tag": ["obj"],
        "get_previous_version_tag": ["obj"],
        "reload": ["filename"],
        "smart_reload": ["filename"],
    },
    ("track.persistence.local", "LockFileRemover"): {
        "atexit": [],
        "remove": [],
        "sigint": ["signum", "frame"],
        "sigterm": ["signum", "frame"],
    },
    ("track.persistence.socketed", "ServerSignalHandler"): {
        "atexit": [],
        "sigint": ["signum", "frame"],
        "sigterm": ["signum", "frame"],
    },
}

DEFAULTS = [
    ("track.persistence.local", "FileProtocol", {"strict": True, "eager": True}),
    ("track.persistence", "make_local", {"strict": True, "eager": True}),
    ("track.persistence.local", "lock_guard", {"atomic": False}),
    ("track.persistence.socketed", "RPCCallFailure", {"trace": None}),
    ("track.persistence.socketed", "read", {"timeout": None}),
    ("track.persistence.socketed", "recv", {"timeout": None}),
    ("track.persistence.socketed", "start_track_server", {"security_layer": None, "backend": None}),
]

FIELDS = ["target_file", "_objects", "_projects", "_groups", "_trials"]
FIELDS += ["_project_names", "_group_names", "_trial_names", "_old_rev_tags"]

_MARKS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def parameters(thing: Any) -> list[str]:
    found = inspect.signature(thing).parameters.values()
    return [_MARKS.get(each.kind, "") + each.name for each in found if each.name != "self"]


def takes(found: list[str], documented: list[str]) -> bool:
    """Whether the documented arguments come first and in their order; others may follow by name."""
    named = [name for name in found if not name.startswith("*")]
    plain = [name for name in documented if not name.startswith("*")]
    return named[: len(plain)] == plain and {name for name in documented if name[0] == "*"} <= set(found)


@every([(module, name, expected) for module, names in FUNCTIONS.items() for name, expected in names.items()])
def test_a_documented_name_takes_the_documented_arguments(
    module: str, name: str, documented: list[str]
) -> None:
    assert takes(parameters(getattr(import_module(module), name)), documented)


@every([(place, name, expected) for place, names in METHODS.items() for name, expected in names.items()])
def test_a_documented_method_takes_the_documented_arguments(
    place: tuple[str, str], name: str, documented: list[str]
) -> None:
    assert takes(parameters(getattr(getattr(import_module(place[0]), place[1]), name)), documented)


@pytest.mark.parametrize(("module", "name", "defaults"), DEFAULTS)
def test_the_documented_defaults_are_the_actual_ones(
    module: str, name: str, defaults: dict[str, Any]
) -> None:
    found = inspect.signature(getattr(import_module(module), name)).parameters
    assert {each: found[each].default for each in defaults} == defaults


def test_the_documented_classes_are_of_the_documented_kind() -> None:
    local = import_module("track.persistence.local")
    multiplexer = import_module("track.persistence.multiplexer")
    socketed = import_module("track.persistence.socketed")
    for protocol in (local.FileProtocol, multiplexer.ProtocolMultiplexer, SocketClient):
        assert issubclass(protocol, Protocol)
    for handler in (local.LockFileRemover, socketed.ServerSignalHandler):
        assert issubclass(handler, SignalHandler)
    for error in (local.ConcurrentWrite, RPCCallFailure):
        assert issubclass(error, Exception)


def test_a_storage_has_the_documented_fields_and_attributes() -> None:
    assert [field.name for field in dataclasses.fields(LocalStorage)] == FIELDS
    storage = LocalStorage()
    assert storage.target_file is None
    for name in ("objects", "projects", "groups", "trials", "project_names", "group_names", "trial_names"):
        assert len(getattr(storage, name)) == 0


def test_a_failed_call_has_its_message_and_trace() -> None:
    error = RPCCallFailure("it failed", "Traceback")
    assert (str(error), error.message, error.trace) == ("it failed", "it failed", "Traceback")


@pytest.mark.usefixtures("own_backends")
def test_a_custom_backend_is_found_by_its_scheme() -> None:
    class MyOwnBackend(Protocol):
        pass

    register("byob", MyOwnBackend)
    protocol = get_protocol("byob://anything")
    assert type(protocol) is MyOwnBackend
    assert protocol.uri == "byob://anything"


def test_a_server_can_be_called_within_its_process(tmp_path: Path) -> None:
    settings = Settings(backend=f"file:{tmp_path}/runs.json", home=tmp_path / "home")
    with serving(settings) as served:
        client = SocketClient(served.join("ann", Role.WRITER))
        client.new_project(Project(name="p"))
        client.flush()  # a call that waits for long returns before its answer
        server = served.server
        assert server is not None
        found = asyncio.run(server.exec(None, None, "fetch_projects", None, {"query": {}}))
        assert [each["name"] for each in found] == ["p"]
        with pytest.raises(UnknownMethod):
            asyncio.run(server.exec(None, None, "new_project", None, {}))
        (session,) = server.sessions
        assert server.get_username(session) == "ann"
        assert server.is_authenticated(session)
        client.close()


async def test_a_server_accepts_no_other_kind_of_login(tmp_path: Path) -> None:
    server = SocketServer(f"socket://127.0.0.1:0?backend=ephemeral:&home={tmp_path}")

    class Unauthenticated:
        role = None

    with pytest.raises(PermissionDenied):
        await server.exec(Unauthenticated(), None, "fetch_projects", None, {"query": {}})
    ended = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server.handle_client(reader, writer)
        except UsageError as error:
            await server.wait_closed(writer)
            ended.set_result(str(error))

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        assert await reader.read() == b""
        assert "call run_server() instead" in await ended
        SocketServer.close_connection(writer)


def test_a_layer_may_be_given_under_both_spellings() -> None:
    with pytest.raises(UsageError, match="contradict"):
        start_track_server("ephemeral:", "127.0.0.1", 0, security_layer="AES", backend="plaintext")


def test_every_documented_name_is_in_the_table() -> None:
    text = (ROOT / "client" / "DOCUMENTED.md").read_text()
    section = text.split("## track.persistence\n")[1].split("\n## ")[0]
    names = {name for names in FUNCTIONS.values() for name in names} - {"Protocol"}
    names |= {"LocalStorage", *METHODS[("track.persistence.storage", "LocalStorage")]}
    names |= set(METHODS[("track.persistence.socketed", "SocketServer")])
    assert names - set(re.findall(r"[`.](\w+)[(`]", section)) == set()
