"""What changed since a moment, for whoever shows a store and does not want to read all of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from track_protocol.wire.batch import METRIC
from track_server.testing.store_support import StoreSuite, begin, group, id_of, project, trial

__all__ = ["ChangeTests"]


def _changed(store: Any, cursor: str | None, limit: int = 1_000) -> Any:
    with store.snapshot() as view:
        return view.changes_since(cursor, limit)


class ChangeTests(StoreSuite):
    """Part of `StoreContract`."""

    def test_nothing_has_changed_since_now(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial()))
        now = _changed(store, None)
        assert (now.known, now.more, now.trials) == (True, False, frozenset())
        assert _changed(store, now.cursor) == now

    def test_what_is_made_or_changed_is_named(self, store: Any) -> None:
        start = _changed(store, None).cursor
        self.put(store, lambda tx: tx.put_project(project()), lambda tx: tx.put_group(group()))
        made = _changed(store, start)
        assert (made.projects, made.groups, made.trials) == ({"p"}, {"g"}, frozenset())
        self.put(store, lambda tx: tx.add_trial(trial(1)), lambda tx: tx.add_trial(trial(2)))
        new = _changed(store, made.cursor)
        assert (new.trials, new.deleted, new.groups, new.projects) == (
            {id_of(1), id_of(2)},
            set(),
            set(),
            set(),
        )
        self.put(store, lambda tx: tx.update_trial(id_of(2), {"name": "renamed"}))
        assert _changed(store, new.cursor).trials == {id_of(2)}
        assert _changed(store, start).trials == {id_of(1), id_of(2)}

    def test_points_change_their_trial(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial(1)))
        self.log(store, [0], [0.5], number=2)
        before = _changed(store, None).cursor
        self.log(store, [1], [0.25], number=2)
        logged = _changed(store, before)
        assert logged.trials == {id_of(2)}
        self.put(store, lambda tx: tx.rewind(id_of(2), -1))
        assert _changed(store, logged.cursor).trials == {id_of(2)}

    def test_a_trial_that_gets_into_a_group_changes_both(self, store: Any) -> None:
        self.put(store, lambda tx: tx.add_trial(trial()), lambda tx: tx.put_group(group()))
        before = _changed(store, None).cursor
        self.put(store, lambda tx: tx.link("g", id_of(0)))
        linked = _changed(store, before)
        assert (linked.trials, linked.groups) == ({id_of(0)}, {"g"})

    def test_a_deleted_trial_is_reported_as_such(self, store: Any) -> None:
        self.log(store, [0], [0.5], number=1)
        before = _changed(store, None).cursor
        self.log(store, [1], [0.5], number=1)
        self.put(store, lambda tx: tx.delete_trial(id_of(1)))
        reported = _changed(store, before)
        assert (reported.trials, reported.deleted) == (set(), {id_of(1)})

    def test_what_is_not_committed_has_not_changed(self, store: Any) -> None:
        before = _changed(store, None).cursor
        tx = begin(store)
        tx.add_trial(trial())
        tx.append_points(id_of(0), METRIC, "loss", None, self.points([0], [0.5]))
        tx.flush()
        assert _changed(store, before).trials == frozenset()
        tx.rollback()
        assert _changed(store, before).trials == frozenset()

    def test_an_answer_is_no_longer_than_was_asked(self, store: Any) -> None:
        cursor = _changed(store, None).cursor
        for number in range(7):
            self.log(store, [0], [0.5], number=number)
        pages = []
        more = True
        while more:
            page = _changed(store, cursor, 3)
            cursor, more = page.cursor, page.more
            pages.append(page.trials)
        assert list(map(len, pages)) == [3, 3, 1]
        assert frozenset().union(*pages) == {id_of(number) for number in range(7)}

    @pytest.mark.parametrize("cursor", ["", "x", "0123456789abcdef:1", "x:-1"])
    def test_a_moment_of_another_history_is_not_known(self, store: Any, cursor: str) -> None:
        self.put(store, lambda tx: tx.add_trial(trial()))
        reported = _changed(store, cursor)
        assert (reported.known, reported.trials) == (False, frozenset())
        assert _changed(store, reported.cursor).known

    def test_a_moment_is_known_or_said_not_to_be_after_reopening(self, store: Any, path: Path) -> None:
        before = _changed(store, None).cursor
        self.put(store, lambda tx: tx.add_trial(trial()))
        again = self.reopened(store, path)
        try:
            reported = _changed(again, before)
            assert reported.trials == {id_of(0)} or not reported.known
        finally:
            again.close()
