"""Reads wait for the writes before them, and for no others."""

from __future__ import annotations

from track_server.network.ordering import ReadAfterWrite


def test_a_read_without_writes_before_it_runs_at_once() -> None:
    order, ran = ReadAfterWrite(), list[str]()
    order.read(lambda: ran.append("read"))
    assert ran == ["read"]


def test_a_read_waits_for_every_write_before_it() -> None:
    order, ran = ReadAfterWrite(), list[str]()
    order.write_started()
    order.write_started()
    order.read(lambda: ran.append("read"))
    order.write_finished()
    assert ran == []
    order.write_finished()
    assert ran == ["read"]


def test_a_read_does_not_wait_for_writes_behind_it() -> None:
    order, ran = ReadAfterWrite(), list[str]()
    order.write_started()
    order.read(lambda: ran.append("read"))
    order.write_started()
    order.write_finished()
    assert ran == ["read"]


def test_reads_run_in_the_order_they_came() -> None:
    order, ran = ReadAfterWrite(), list[str]()
    order.write_started()
    order.read(lambda: ran.append("first"))
    order.read(lambda: ran.append("second"))
    order.write_started()
    order.read(lambda: ran.append("third"))
    order.write_finished()
    order.write_finished()
    assert ran == ["first", "second", "third"]


def test_it_knows_how_many_writes_are_under_way() -> None:
    order = ReadAfterWrite()
    order.write_started()
    order.write_started()
    order.write_finished()
    assert order.pending == 1
