"""A server whose peers, files and neighbours mean it harm."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from running_server import Served, limited, serving
from socket_peers import SECONDS, Joined, joined, peer, plain_peer
from track_protocol.errors import PermissionDenied, StoreError, TrackError
from track_protocol.wire.events import CloseReceived
from track_protocol.wire.roles import Role
from track_server.app import Settings
from track_server.network.limits import Limits
from waiting import wait_until

pytestmark = pytest.mark.usefixtures("own_folders")


def test_a_process_that_never_unlocks_the_users_prevents_no_login(served: Served) -> None:
    uri = served.join("ann")
    descriptor = os.open(served.home / "users.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with joined(uri) as ann:
            assert ann.new_trial()
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("damage", ["garbage", "a link to itself"])
def test_an_unauthenticated_peer_does_not_learn_where_the_servers_files_are(
    served: Served, damage: str
) -> None:
    uri = served.join("ann")
    users = served.home / "users.json"
    if damage == "garbage":
        users.write_bytes(b"{")
    else:
        users.unlink()
        users.symlink_to(users.name)
    with peer(served) as unauthenticated, pytest.raises(StoreError) as reported:
        unauthenticated.log_in(uri)
    assert "its log says why" in str(reported.value)
    assert "users" not in str(reported.value)


def test_users_that_cannot_be_looked_at_do_not_end_the_server(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(limited(settings, watch_seconds=0.02)) as served, joined(served.join("ann")) as ann:
        users = served.home / "users.json"
        kept = users.rename(users.with_name("kept"))
        # In one step, since a file that is missing for a moment would be a user who was removed.
        os.symlink(users.name, users.with_name("loop"))
        os.link(kept, users)
        os.replace(users.with_name("loop"), users)
        wait_until(lambda: "users cannot be read" in caplog.text, "the server notices")
        assert ann.new_trial()


def test_a_session_that_has_written_nothing_yet_cannot_be_taken_by_another_user(served: Served) -> None:
    session = uuid.uuid4().bytes
    with joined(served.join("ann"), session) as ann:
        with pytest.raises(PermissionDenied, match="another user"):
            Joined(served.join("eve"), session)
        assert ann.new_trial()


def test_unauthenticated_peers_that_were_dropped_and_do_not_leave_make_room(settings: Settings) -> None:
    # Only its end frees the one slot: nobody has to give way within the time of this test.
    few = Limits(unauthenticated=1, slot_seconds=3600.0, handshake_seconds=3.0)
    with serving(replace(settings, limits=few)) as served, peer(served) as rude:
        rude.socket.sendall(b"\xff" * 64)
        rude.expect(CloseReceived)
        with joined(served.join("ann")) as ann:
            assert ann.new_trial()


def test_answers_do_not_pile_up_for_a_peer_that_reads_none(served: Served) -> None:
    asked = 0
    assert served.server is not None
    engine = served.server.engine
    submit = engine.submit_read

    def counted(
        method: str, arguments: dict[str, Any], done: Callable[[Any], None], peer: Any = None
    ) -> None:
        nonlocal asked
        asked += 1
        submit(method, arguments, done, peer)

    with joined(served.join("ann")) as ann:
        for _ in range(20):
            ann.new_trial(parameters={str(number): "x" * 60_000 for number in range(15)})
    engine.submit_read = counted  # type: ignore[method-assign] # looks on
    with peer(served) as deaf:
        deaf.log_in(served.join("bob", Role.READER))
        for number in range(60):
            deaf.protocol.send_call(number, None, "fetch_trials", {"query": {}})
        deaf.flush()
        wait_until(lambda: asked >= 2, "the first reads")
        with joined(served.join("eve")) as eve:
            assert len(eve.read("fetch_trials", query={})) == 20
        assert asked < 10


def test_a_damaged_users_file_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    uri = served.join("ann")
    (served.home / "users.json").write_bytes(b"{")
    with pytest.raises(TrackError):
        Joined(uri)
    assert str(served.home / "users.json") in caplog.text


def test_calls_that_wait_count_for_the_memory_they_take(settings: Settings) -> None:
    narrow = Limits(batches_in_flight=10**9, bytes_in_flight=1_000_000, drain_seconds=0.1)
    with serving(replace(settings, plaintext=True, limits=narrow)) as served, plain_peer(served) as ann:
        ann.log_in(served.join("ann", pin=""))
        assert served.server is not None
        waiting: list[object] = []
        engine = served.server.engine

        def keep(*arguments: Any, **_: Any) -> None:
            waiting.append(arguments)

        engine.submit_call = keep  # type: ignore[method-assign] # an engine that is too slow
        for number in range(100):
            ann.protocol.send_call(number, number + 1, "new_project", {"project": {"uid": [[]] * 5_000}})
        ann.socket.settimeout(SECONDS)
        ann.flush()
        with joined(served.join("eve", pin="")) as eve:
            assert eve.read("fetch_projects", query={}) == []
        assert len(waiting) < 60
