"""Connections that break anywhere: everything arrives exactly once, and no caller waits forever."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chaos_proxy import ChaosProxy, Fault
from running_server import Served, ServerProcess
from torture import count, dice, happens, say
from track.persistence import get_protocol
from track_protocol.model.entities import Trial
from track_protocol.uri import Uri
from track_protocol.wire.roles import Role
from unprotected_server import without
from written_series import SERIES, Verdict, stored_series, verdict

_ROUND = 40


def uri_through(port: int, served: Served, token: str, plaintext: bool) -> str:
    query = {"security_layer": "plaintext" if plaintext else "AES", "pin": served.pin, "timeout": "30"}
    if plaintext:
        del query["pin"]
    return Uri("socket", "127.0.0.1", port, username="ann", password=token, query=query).to_text()


def logged_through(proxy: ChaosProxy, uri: str, name: str, faults: int) -> tuple[int, float]:
    """How much a client logs, until the proxy has done that many faults, and its longest wait."""
    longest = 0.0
    protocol = get_protocol(uri)
    try:
        begun = time.monotonic()
        trial = protocol.new_trial(Trial(name=name))
        assert trial is not None
        write, logged = protocol.metric_writer(trial), 0
        while proxy.faults.total() < faults:
            longest = max(longest, time.monotonic() - begun)
            for number in range(logged, logged + _ROUND):
                write(number, {SERIES: number})
            logged += _ROUND
            begun = time.monotonic()
            protocol.flush()
        proxy.stop_faults()
        longest = max(longest, time.monotonic() - begun)
    finally:
        protocol.close()
    return logged, longest


def survived(
    tmp_path: Path,
    clients: int,
    faults: int,
    *,
    plaintext: bool,
    program: Sequence[str] = ("-m", "track.cli"),
) -> tuple[Verdict, float, dict[Fault, int]]:
    """What clients behind a proxy that harms their connections lost, waited for and went through."""
    store = f"sqlite:{tmp_path}/runs.db"
    options = ("--security-layer", "plaintext") if plaintext else ()
    with (
        ServerProcess(store, tmp_path / "home", *options, program=program) as server,
        ChaosProxy(server.served.port, dice()) as proxy,
        ThreadPoolExecutor(clients) as threads,
    ):
        token = Uri.parse(server.served.join("ann", Role.WRITER)).password or ""
        names = [f"client-{number}" for number in range(clients)]
        uris = [uri_through(proxy.new_port(), server.served, token, plaintext) for _ in names]
        running = [
            threads.submit(logged_through, proxy, uri, name, faults)
            for uri, name in zip(uris, names, strict=True)
        ]
        ended = [each.result() for each in running]
        server.stop()
    logged = {name: count for name, (count, _) in zip(names, ended, strict=True)}
    return verdict(logged, stored_series(store)), max(wait for _, wait in ended), dict(proxy.faults)


@pytest.mark.parametrize(
    "plaintext", [False, pytest.param(True, marks=pytest.mark.torture)], ids=["AES", "plaintext"]
)
def test_everything_arrives_exactly_once_whatever_happens_to_the_connections(
    tmp_path: Path, plaintext: bool
) -> None:
    found, longest, faults = survived(tmp_path, count(12, 64), count(60, 5_000), plaintext=plaintext)
    say(f"chaos: {faults}, {found}, longest wait {longest:.1f} s")
    assert found.clean
    assert found.acknowledged > 0
    assert faults.keys() == set(Fault)


def test_without_deduplication_the_same_faults_leave_doubles(tmp_path: Path) -> None:
    # The protection removed: the server recognises no record that comes again.
    def doubles(folder: Path) -> bool:
        found, _, _ = survived(folder, 4, 16, plaintext=True, program=without("deduplication"))
        return found.doubled > 0

    assert happens(doubles, tmp_path)
