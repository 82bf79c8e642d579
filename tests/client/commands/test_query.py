"""``track query``: SQL that reads, on any store."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command_runner import fill, run
from track import TrackClient
from track.commands.fields import moment_text
from track.commands.query import COMMAND
from track_protocol.errors import TrackError, UsageError

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture(params=["sqlite:{}/runs.db", "file:{}/runs.json"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri: str = request.param.format(tmp_path)
    fill(uri)
    return uri


def asked(uri: str, capsys: pytest.CaptureFixture[str], sql: str, *words: str) -> list[list[object]]:
    assert run(COMMAND, sql, "--uri", uri, "--json", *words) == 0
    return [list(row.values()) for row in json.loads(capsys.readouterr().out)]


def test_times_are_shown_as_times(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    ((at, created),) = asked(uri, capsys, "SELECT p.time, t.created FROM points p, trials t LIMIT 1")
    run(COMMAND, "SELECT p.time, t.created, t.duration FROM points p, trials t LIMIT 1", "--uri", uri)
    said = capsys.readouterr().out
    assert moment_text(float(str(at)), "seconds") in said
    assert moment_text(float(str(created))) in said
    assert re.search(r"\d(ms|s)\n", said)


def test_a_carriage_return_stays_in_its_cell(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(COMMAND, "SELECT 'a' || char(13) || 'b' AS x, 1 AS y", "--uri", uri, "--csv")
    assert capsys.readouterr().out == 'x,y\n"a\rb","1"\n'


def test_points_are_a_table(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    sql = """
        SELECT t.name, p.context ->> 'phase', count(*), count(p.value), max(p.value) FROM points p
        JOIN trials t ON t.uid = p.trial WHERE p.name = 'loss' AND t.status = 'Completed'
        GROUP BY 1, 2 ORDER BY 1, 2
    """
    assert asked(uri, capsys, sql) == [
        ["first", None, 4, 3, 1.0],
        ["first", "val", 4, 4, 6.0],
        ["résumé 猫", None, 4, 3, 0.5],
        ["résumé 猫", "val", 4, 4, 6.0],
    ]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT name FROM projects", [["vision"]]),
        ("SELECT name, project FROM trial_groups", [["sweep", "vision"]]),
        ("SELECT trial_group, name FROM trials WHERE parameters ->> 'lr' > 0.25", [["sweep", "first"]]),
        ("SELECT name, count(*) FROM params GROUP BY 1", [["lr", 3], ["opt.name", 3], ["same", 3]]),
        ("SELECT DISTINCT value FROM tags ORDER BY 1", [["blue"], ["red"]]),
        ("SELECT count, last FROM series WHERE name = 'note' LIMIT 1", [[4, "x"]]),
        ("WITH x AS (SELECT 1 AS a) SELECT a + 1 FROM x", [[2]]),
    ],
)  # fmt: skip
def test_every_other_kind_is_a_table_too(
    uri: str, capsys: pytest.CaptureFixture[str], sql: str, rows: list[list[object]]
) -> None:
    assert asked(uri, capsys, sql) == rows


def test_only_the_requested_objects_are_in_the_tables(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(uri, capsys, "SELECT count(*) FROM trials", "--filter", "lr > 0.15") == [[2]]
    assert asked(uri, capsys, "SELECT count(*) FROM points", "--metric", "note") == [[12]]


def test_points_that_no_statement_reads_are_not_fetched(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("track.commands.stores.pages_of")
    assert asked(uri, capsys, "SELECT count(*) FROM series") == [[12]]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM points",
        "INSERT INTO tags VALUES(1, 2, 3)",
        "DROP TABLE points",
        "CREATE TABLE x(y)",
        "ATTACH '{}/x.db' AS x",
        "PRAGMA writable_schema = 1",
        "VACUUM INTO '{}/x.db'",
        "SELECT load_extension('x')",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT * FROM nowhere",
        "nonsense",
        "SELECT '\x00'",
    ],
)
def test_anything_but_one_select_is_refused(tmp_path: Path, uri: str, sql: str) -> None:
    with pytest.raises(UsageError, match=r"SQL|only reads"):
        run(COMMAND, sql.format(tmp_path), "--uri", uri)
    assert not (tmp_path / "x.db").exists()


def test_a_slow_statement_times_out(uri: str) -> None:
    with pytest.raises(TrackError, match=r"takes longer than 0\.2 s"):
        run(COMMAND, ENDLESS, "--uri", uri, "--timeout", "0.2")


def test_the_output_form_depends_on_the_reader(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(COMMAND, "SELECT name, count FROM series WHERE kind = 'chrono'", "--uri", uri, "--csv")
    assert capsys.readouterr().out == "name,count\n" + "runtime,1\n" * 3
    run(COMMAND, "SELECT 1 AS one, NULL AS none", "--uri", uri)
    assert capsys.readouterr().out == "one  none\n  1     -\n1 row\n"
    run(COMMAND, "--tables")
    assert "points(trial, kind, name, context, step, time, value)\n" in capsys.readouterr().out
    with pytest.raises(UsageError, match="one SELECT"):
        run(COMMAND, "--uri", uri)


def test_texts_that_a_spreadsheet_would_compute_are_quoted_in_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    with TrackClient(uri) as client:
        client.new_trial(name="t").log_arguments(a="=1+1", b=-1)
    sql = "SELECT value FROM params ORDER BY name"
    run(COMMAND, "--uri", uri, "--csv", sql)
    assert capsys.readouterr().out == "value\n'=1+1\n-1\n"
    run(COMMAND, "--uri", uri, "--csv", "--keep-formulas", sql)
    assert capsys.readouterr().out == "value\n=1+1\n-1\n"


@pytest.mark.parametrize("option", [[], ["--json"], ["--csv"]])
def test_tuples_as_keys_are_shown_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    # Fails when JSON is made of keys that are none: TypeError.
    uri = f"sqlite:{tmp_path / 'runs.db'}"
    with TrackClient(uri) as client:
        trial = client.new_trial(name="t", arguments={"grid": {(1, 2): "a"}})
        trial.log_metadata(table=[{(3, "x"): {(4,): 5}}])
    sql = "SELECT parameters, metadata ->> '$.table' AS 'table' FROM trials"
    assert run(COMMAND, "--uri", uri, *option, sql) == 0
    out = capsys.readouterr().out.replace("\\", "").replace('""', '"')
    assert '"[1, 2]": "a"' in out
    assert '"[4]":5' in out.replace(" ", "")
