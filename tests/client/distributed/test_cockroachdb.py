"""A node of CockroachDB.

CockroachDB itself is not needed: a small program stands in for it that prints, takes options and ends as the
real one does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from track.distributed.cockroachdb import CockRoachDB, CockroachDB
from track_protocol.errors import MissingExtra, StoreError, UsageError
from waiting import wait_until

PROGRAM = """#!/bin/sh
trap 'echo "initiating graceful shutdown of server"; kill $child; exit 0' TERM
echo "$@" >"$0.options"
sleep 600 &
child=$!
cat <<END
*
* WARNING: RUNNING IN INSECURE MODE!
*
CockroachDB node starting at 2020-01-10 16:00:00 +0000 UTC (took 0.5s)
build:               CCL v19.2.2 @ 2019/12/11 01:33:43 (go1.12.12)
webui:               http://localhost:8080
sql:                 postgresql://root@localhost:26257?sslmode=disable
RPC client flags:    cockroach <client cmd> --host=localhost:26257 --insecure
logs:                /data/logs
store[0]:            path=/data
status:              initialized new cluster
clusterID:           ba2f8b6b-1ab9-4c8b-9cd5-25fd4b0a1c43
nodeID:              1
END
echo "webui: of a later line"
wait
"""

FAILING = """#!/bin/sh
echo "ERROR: cockroach server exited with error: cannot listen: address already in use" >&2
exit 1
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "cockroach"
    path.parent.mkdir()
    install(path, PROGRAM)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    return path


def install(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


@contextlib.contextmanager
def started(node: CockroachDB) -> Iterator[CockroachDB]:
    node.start()
    try:
        yield node
    finally:
        node.stop()


def test_a_node_reports_its_properties_once_it_serves(tmp_path: Path, program: Path) -> None:
    with started(CockroachDB(tmp_path / "data")) as node:
        assert node.build == "CCL v19.2.2 @ 2019/12/11 01:33:43 (go1.12.12)"
        assert node.webui == "http://localhost:8080"
        assert node.sql == "postgresql://root@localhost:26257?sslmode=disable"
        assert node.client_flags == "cockroach <client cmd> --host=localhost:26257 --insecure"
        assert node.status == "initialized new cluster"
        assert node.node_id == "1"
        assert node.properties["clusterid"] == "ba2f8b6b-1ab9-4c8b-9cd5-25fd4b0a1c43"


def test_it_is_started_with_its_folder_on_this_machine_only(tmp_path: Path, program: Path) -> None:
    with started(CockroachDB(tmp_path / "data")):
        assert program.with_suffix(".options").read_text().split() == [
            "start-single-node",
            f"--store=path={tmp_path}/data",
            "--listen-addr=localhost:26257",
            "--http-addr=localhost:8080",
            "--insecure",
        ]


def test_it_joins_a_cluster_with_certificates(tmp_path: Path, program: Path) -> None:
    node = CockroachDB(tmp_path, "node2:26257", "node2:8080", join=["node1:26257"], certs="/certs")
    with started(node):
        reported = program.with_suffix(".options").read_text().split()
        assert reported[:2] == ["start", "--join=node1:26257"]
        assert reported[-1] == "--certs-dir=/certs"


def test_without_certificates_it_listens_on_this_machine_only() -> None:
    with pytest.raises(UsageError, match="certs"):
        CockroachDB("data", "0.0.0.0:26257")


def test_it_stops_and_starts_again(tmp_path: Path, program: Path) -> None:
    node = CockroachDB(tmp_path)
    for _ in range(2):
        with started(node), pytest.raises(UsageError, match="runs already"):
            node.start()
        assert node.wait() == 0


def test_its_child_processes_do_not_delay_its_end(tmp_path: Path, program: Path) -> None:
    # The one that is left has the pipe; it ends by itself.
    install(program, "#!/bin/sh\nsleep 20 &\necho nodeID: 1\nexit 3\n")
    node = CockroachDB(tmp_path)
    node.start()
    assert node.wait() == 3


def test_waiting_for_its_end_gives_its_exit_code(tmp_path: Path, program: Path) -> None:
    node = CockroachDB(tmp_path)
    assert node.wait() is None
    with started(node):
        assert node._process is not None
        os.kill(node._process.pid, signal.SIGTERM)
        assert node.wait() == 0


def test_it_need_not_be_waited_for(tmp_path: Path, program: Path) -> None:
    node = CockroachDB(tmp_path)
    node.start(wait=False)
    try:
        wait_until(lambda: node.node_id, "the node reports its number")
    finally:
        node.stop()


def test_a_node_that_cannot_start_raises_with_the_reason(tmp_path: Path, program: Path) -> None:
    install(program, FAILING)
    with pytest.raises(StoreError, match="address already in use"):
        CockroachDB(tmp_path).start()
    install(program, "\x7fELF of another machine")
    with pytest.raises(StoreError, match="cannot be run"):
        CockroachDB(tmp_path).start()


def test_a_node_that_does_not_serve_in_time_is_stopped(tmp_path: Path, program: Path) -> None:
    install(program, "#!/bin/sh\nexec sleep 600\n")
    node = CockroachDB(tmp_path)
    with pytest.raises(StoreError, match="does not serve"):
        node.start(timeout=0.2)
    assert node.wait() == -signal.SIGTERM


def test_without_the_program_the_error_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match=r"'cockroach' is on PATH.*cockroachlabs\.com"):
        CockroachDB(tmp_path).start()


@pytest.mark.parametrize(
    ("line", "properties"),
    [
        ("nodeID:              3\n", {"node_id": "3"}),
        ("RPC client flags:    --host=a:1", {"client_flags": "--host=a:1"}),
        ("client flags:    --host=a:1", {"client_flags": "--host=a:1"}),
        ("sql:   postgresql://root@a:1", {"sql": "postgresql://root@a:1"}),
        ("nothing", {}),
        ("*", {}),
        ("empty:", {}),
    ],
)
def test_properties_are_read_from_lines(line: str, properties: dict[str, str]) -> None:
    assert CockroachDB("data").parse({}, line) == properties


def test_older_scripts_give_the_address_and_the_cluster_as_texts(tmp_path: Path, program: Path) -> None:
    with started(CockRoachDB(tmp_path / "data", "localhost:1", join="a:2,b:3")):
        given = Path(f"{program}.options").read_text()
    assert "start --join=a:2,b:3" in given
    assert "--listen-addr=localhost:1" in given


def test_the_folder_is_removed_on_request(tmp_path: Path, program: Path) -> None:
    data = tmp_path / "data"
    with started(CockRoachDB(data, "localhost:1", clean_on_exit=True)):
        data.mkdir()
        (data / "file").write_text("of the node")
    assert not data.exists()


def test_a_folder_that_held_files_before_is_not_removed(
    tmp_path: Path, program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "thesis.tex").write_text("of the user")
    with started(CockRoachDB(data, "localhost:1", clean_on_exit=True)):
        pass
    assert (data / "thesis.tex").exists()
    assert "held files before the node was started: it is not removed" in caplog.text
