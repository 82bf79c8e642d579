from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from track_protocol.errors import AuthenticationError, ItemNotFound, StoreCorrupt, UsageError
from track_protocol.security.scram import ClientExchange, ServerExchange
from track_protocol.security.tokens import Secret, is_generated, new_token
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore

ADD_FIVE = """
import sys
from pathlib import Path
from track_protocol.wire.roles import Role
from track_server.accounts.users import UserStore

for number in range(5):
    UserStore(Path(sys.argv[1])).add(f"user{sys.argv[2]}{number}", Role.WRITER)
"""


def logs_in(store: UserStore, name: str, secret: str) -> bool:
    client, server = ClientExchange(name, secret, None), ServerExchange(None)
    user = store.lookup(server.identify(client.first()))
    challenge = server.challenge(user.verifier if user else None, store.mock_secret())
    try:
        client.verify(server.conclude(client.final(challenge)))
    except AuthenticationError:
        return False
    return True


def test_an_added_user_logs_in_with_the_generated_token_and_no_other(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    token = store.add("ann", Role.WRITER)
    assert is_generated(token)
    assert logs_in(store, "ann", token)
    assert not logs_in(store, "ann", new_token())


def test_a_user_may_have_a_password_that_a_person_chose(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    assert store.add("ann", Role.READER, Secret("correct horse")) == "correct horse"
    user = store.lookup("ann")
    assert user is not None
    assert user.verifier.iterations == 600_000
    assert logs_in(store, "ann", "correct horse")


def test_a_generated_token_names_its_user_and_a_password_does_not(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    ann, _bob = store.add("ann", Role.READER), store.add("bob", Role.READER)
    store.add("eve", Role.READER, "correct horse")
    running = UserStore(tmp_path)
    assert running.named(ann) == "ann"
    assert running.named(new_token()) is None
    assert running.named("correct horse") is None
    assert b"correct horse" not in (tmp_path / "users.json").read_bytes()
    eve = running.lookup("eve")
    assert eve is not None
    assert eve.token is None


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        UserStore(tmp_path).add("ann", Role.READER, "")


def test_a_new_store_has_no_users_at_all(tmp_path: Path) -> None:
    store = UserStore(tmp_path / "home")
    assert store.list() == ()
    assert store.lookup("admin") is None


def test_users_are_listed_by_name_with_their_roles(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.add("bob", Role.ADMIN)
    store.add("ann", Role.READER)
    assert [(user.name, user.role) for user in store.list()] == [("ann", Role.READER), ("bob", Role.ADMIN)]


def test_a_removed_user_is_not_found(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    token = store.add("ann", Role.WRITER)
    store.remove("ann")
    assert store.lookup("ann") is None
    assert not logs_in(store, "ann", token)


def test_removing_an_unknown_user_says_so(tmp_path: Path) -> None:
    with pytest.raises(ItemNotFound, match="'ann'"):
        UserStore(tmp_path).remove("ann")


def test_adding_a_name_twice_says_to_remove_it_first_and_keeps_the_old_token(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    token = store.add("ann", Role.WRITER)
    with pytest.raises(UsageError, match="track user remove ann"):
        store.add("ann", Role.ADMIN)
    assert logs_in(store, "ann", token)
    assert store.list()[0].role is Role.WRITER


@pytest.mark.parametrize("name", ["a", "Ann.B-c_d@example.org", "x" * 64, "local"])
def test_a_plain_name_is_accepted(tmp_path: Path, name: str) -> None:
    store = UserStore(tmp_path)
    store.add(name, Role.READER)
    assert store.lookup(name) is not None


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a b", "a/b", "a:b", "a,b", "a=b", "a\n", "ä", "\uff41", "local-0"]
)
def test_a_name_that_could_be_mistaken_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a user's name"):
        UserStore(tmp_path).add(name, Role.READER)


def test_changes_by_another_process_are_noticed(tmp_path: Path) -> None:
    running = UserStore(tmp_path)
    assert running.lookup("ann") is None
    UserStore(tmp_path).add("ann", Role.READER)
    assert running.lookup("ann") is not None
    UserStore(tmp_path).remove("ann")
    assert running.lookup("ann") is None


def test_changed_reports_changes_since_the_last_look(tmp_path: Path) -> None:
    running = UserStore(tmp_path)
    running.current()
    assert not running.changed()
    UserStore(tmp_path).add("ann", Role.READER)
    assert running.changed()
    assert set(running.current()) == {"ann"}
    assert not running.changed()


def test_a_user_who_was_removed_and_added_again_is_another_one(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.add("ann", Role.READER)
    before = store.lookup("ann")
    store.remove("ann")
    store.add("ann", Role.READER)
    assert store.lookup("ann") != before


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.add("ann", Role.READER)
    assert store.current() is store.current()


def test_nothing_that_lets_one_log_in_is_stored(tmp_path: Path) -> None:
    token = UserStore(tmp_path).add("ann", Role.READER)
    for path in tmp_path.iterdir():
        assert token.encode() not in path.read_bytes()


def test_all_files_are_for_the_owner_only(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.add("ann", Role.READER)
    store.mock_secret()
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_users_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.add("ann", Role.READER)
    (tmp_path / "users.json").chmod(0o644)
    with pytest.raises(UsageError, match=r"users\.json may be read by others"):
        UserStore(tmp_path).lookup("ann")


def _damage(change: Callable[[dict[str, dict[str, dict[str, object]]]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_bytes(b"[]"),
        _damage(lambda document: document.update(version={})),
        _damage(lambda document: document.pop("users")),
        _damage(lambda document: document["users"]["ann"].update(role="superuser")),
        _damage(lambda document: document["users"]["ann"].pop("verifier")),
        _damage(lambda document: document["users"]["ann"].update(verifier={})),
        _damage(lambda document: document["users"]["ann"].update(created="yesterday")),
    ],
)
def test_a_damaged_users_file_is_an_error_that_names_it(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    store = UserStore(tmp_path)
    store.add("ann", Role.READER)
    damage(tmp_path / "users.json")
    with pytest.raises(StoreCorrupt, match=r"users\.json"):
        UserStore(tmp_path).lookup("ann")


def test_a_damaged_users_file_is_not_overwritten(tmp_path: Path) -> None:
    UserStore(tmp_path).add("ann", Role.READER)
    (tmp_path / "users.json").write_bytes(b"{")
    with pytest.raises(StoreCorrupt):
        UserStore(tmp_path).add("bob", Role.READER)
    assert (tmp_path / "users.json").read_bytes() == b"{"


def test_the_mock_secret_is_made_once_for_a_home(tmp_path: Path) -> None:
    secret = UserStore(tmp_path).mock_secret()
    assert len(secret) == 32
    assert UserStore(tmp_path).mock_secret() == secret


def test_a_damaged_mock_secret_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = UserStore(tmp_path)
    store.mock_secret()
    (tmp_path / "mock.secret").write_bytes(b"")
    with pytest.raises(StoreCorrupt, match=r"mock\.secret"):
        UserStore(tmp_path).mock_secret()


def test_processes_that_add_users_at_once_lose_none(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", ADD_FIVE, str(tmp_path), str(number)]) for number in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert len(UserStore(tmp_path).list()) == 15
