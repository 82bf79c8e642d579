"""``track export``: every point, in each format, in little memory."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from command_runner import fill, run
from track import TrackClient
from track.commands.export import COMMAND
from track.commands.fields import Names
from track.persistence import get_protocol
from track.persistence.protocol import Protocol
from track_protocol.errors import TrackError, UsageError
from track_protocol.model.entities import Trial


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:{tmp_path}/runs.db"


def exported(tmp_path: Path, uri: str, kind: str, *words: str) -> Any:
    path = tmp_path / f"out.{kind}"
    assert run(COMMAND, "--uri", uri, "-o", str(path), *words) == 0
    if kind == "csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if kind == "json":
        return json.loads(path.read_text("utf-8"))
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra")
    return parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_every_point_is_a_row(tmp_path: Path, uri: str, kind: str) -> None:
    uids = fill(uri)
    rows = exported(tmp_path, uri, kind)
    assert len(rows) == 3 * (3 * 4 + 1)
    of_one = [row for row in rows if row["trial"] == uids[1] and row["name"] == "loss"]
    assert [row["trial_name"] for row in of_one] == ["résumé 猫"] * 8
    plain = [row for row in of_one if not row["context"] or row["context"] == "{}"]
    assert [float(row["step"]) for row in plain] == [0, 1, 2, 3]
    values = [float(row["value"]) for row in plain]
    assert math.isnan(values[1])
    assert values[2] == 1 / 4
    labelled = [row["context"] for row in of_one if row not in plain]
    assert [each if kind == "json" else json.loads(each) for each in labelled] == [{"phase": "val"}] * 4
    assert {row["value"] for row in rows if row["name"] == "note"} == {"x"}


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_wide_is_one_row_for_each_trial(tmp_path: Path, uri: str, kind: str) -> None:
    fill(uri)
    rows = exported(tmp_path, uri, kind, "--wide", "--filter", "lr < 0.25")
    assert [(row["name"], row["status"], float(row["parameters.lr"])) for row in rows] == [
        ("first", "Completed", 0.1),
        ("résumé 猫", "Completed", 0.2),
    ]
    assert float(rows[0]['metrics.loss{phase="val"}']) == 6


def test_a_parquet_column_has_the_type_of_its_values(tmp_path: Path, uri: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra")
    with TrackClient(uri) as client:
        numbers = {"int": 2**53, "float": 1, "flag": True, "text": "a", "mixed": 1, "large": 2**60}
        client.new_trial(name="a", arguments=numbers).start()
        others = {"int": 3, "float": 0.5, "text": "1", "mixed": [1], "large": 1}
        client.new_trial(force=True, name="b", arguments={**others, "none": None}).start()
    exported(tmp_path, uri, "parquet", "--wide")
    table = parquet.read_table(tmp_path / "out.parquet")
    found = {
        name.removeprefix("parameters."): (str(table[name].type), table[name].to_pylist())
        for name in table.column_names
        if name.startswith("parameters.")
    }
    assert found == {
        "int": ("int64", [2**53, 3]),
        "float": ("double", [1.0, 0.5]),
        "flag": ("bool", [True, None]),
        "text": ("string", ["a", "1"]),
        "mixed": ("string", ["1", "[1]"]),
        "large": ("string", [str(2**60), "1"]),
        "none": ("double", [None, None]),
    }
    assert not [name for name in table.column_names if "_text" in name or "\0" in name]


def test_the_steps_of_points_are_integers_in_parquet(tmp_path: Path, uri: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is an extra")
    fill(uri)
    exported(tmp_path, uri, "parquet", "--metric", "loss")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert [str(table[name].type) for name in ("step", "time", "value")] == ["int64", "double", "double"]


def test_a_carriage_return_stays_in_its_cell(tmp_path: Path, uri: str) -> None:
    # Fails on Python before 3.11.9 without the quotes.
    text = 'one\rtwo\r\nthree\nfour,"five"'
    with TrackClient(uri) as client:
        trial = client.new_trial(name=text, arguments={"note": "a\rb"})
        trial.log_metrics(step=1, word=text)
    assert exported(tmp_path, uri, "csv", "--metric", "word")[0]["value"] == text
    (wide,) = exported(tmp_path, uri, "csv", "--wide")
    assert (wide["name"], wide["parameters.note"]) == (text, "a\rb")


def test_both_of_two_keys_of_one_name_are_exported(tmp_path: Path, uri: str) -> None:
    with TrackClient(uri) as client:
        client.new_trial(name="a", arguments={"a.b": 1, "a": {"b": 2}}).start()
    (row,) = exported(tmp_path, uri, "csv", "--wide")
    assert (row["parameters.a.b"], row['parameters."a"."b"']) == ("1", "2")


def test_a_metric_that_no_trial_has_is_an_error(tmp_path: Path, uri: str) -> None:
    fill(uri)
    with pytest.raises(UsageError, match="no trial has the series 'los': did you mean 'loss'"):
        exported(tmp_path, uri, "csv", "--metric", "los")
    assert exported(tmp_path, uri, "csv", "--metric", "loss", "--filter", "lr > 9") == []


def test_the_names_of_projects_are_looked_up_once(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once a trial would be quadratic.
    fill(uri)
    made: list[Names] = []

    class Counted(Names):
        def __init__(self, protocol: Protocol) -> None:
            super().__init__(protocol)
            made.append(self)

    monkeypatch.setattr("track.commands.export.Names", Counted)
    assert len(exported(tmp_path, uri, "csv", "--wide")) == 3
    assert len(made) == 1


def test_some_series_of_some_trials(uri: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    uids = fill(uri)
    assert run(COMMAND, "--uri", uri, "--metric", "note", "--metric", 'loss{phase="val"}', uids[0]) == 0
    rows = list(csv.DictReader(capfdbinary.readouterr().out.decode().splitlines()))
    assert sorted({row["name"] for row in rows}) == ["loss", "note"]
    assert len(rows) == 8


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_an_empty_export_is_a_complete_file(tmp_path: Path, uri: str, kind: str) -> None:
    fill(uri)
    assert exported(tmp_path, uri, kind, "--filter", "lr > 9") == []


def test_a_file_exists_only_when_it_is_complete(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(uri)
    out = tmp_path / "out.csv"
    out.write_text("before")

    def fails(*_arguments: Any) -> Any:
        raise TrackError("the server is gone")

    monkeypatch.setattr("track.commands.stores.pages_of", fails)
    with pytest.raises(TrackError, match="gone"):
        run(COMMAND, "--uri", uri, "-o", str(out))
    assert out.read_text() == "before"
    assert not list(tmp_path.glob(".out*"))


def test_invalid_arguments_are_reported(tmp_path: Path, uri: str) -> None:
    uids = fill(uri)
    with pytest.raises(UsageError, match="not both"):
        run(COMMAND, "--uri", uri, uids[0], "--filter", "lr > 0")
    with pytest.raises(TrackError, match="cannot be written"):
        run(COMMAND, "--uri", uri, "-o", str(tmp_path / "nowhere" / "out.csv"))


FEW, MANY = 20_000, 200_000
MEASURED = """
import resource, sys
from command_runner import run
from track.commands.export import COMMAND
run(COMMAND, "--uri", sys.argv[1], "-o", sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def long_stores(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Stores of one series each, of few and of many points."""
    uris = []
    for points in (FEW, MANY):
        uri = f"sqlite:{tmp_path_factory.mktemp('long')}/runs.db"
        protocol = get_protocol(uri)
        trial = protocol.new_trial(Trial(name="long"))
        assert trial is not None
        write = protocol.metric_writer(trial)
        for step in range(points):
            write(step, {"loss": step * 0.5})
        protocol.close()
        uris.append(uri)
    return uris


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_many_points_need_no_more_memory_than_a_few_pages(
    tmp_path: Path, long_stores: list[str], kind: str
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet is an extra")
    support = {"PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    used = []
    for uri in long_stores:
        words = [sys.executable, "-c", MEASURED, uri, str(tmp_path / f"out.{kind}")]
        found = subprocess.run(words, check=True, capture_output=True, text=True, env=support)
        used.append(int(found.stdout))
    # In kilobytes; as many rows of Python objects would be some 80 MB.
    assert used[1] - used[0] < 40_000
    if kind == "csv":
        with (tmp_path / "out.csv").open() as file:
            assert sum(1 for _ in file) == MANY + 1


FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    '=HYPERLINK("http://evil.example","x")',
]
NUMBERS = ["-1", "+2.5", "-1e-3", "-inf", "text", "1=1", "", "'=1"]


@pytest.fixture
def computing(tmp_path: Path) -> str:
    """A store whose names and texts a spreadsheet would compute."""
    uri = f"sqlite:{tmp_path / 'formulas.db'}"
    with TrackClient(uri) as client, client.new_trial(name="=cmd()", arguments={"=a": 1}) as trial:
        for text in FORMULAS + NUMBERS:
            trial.log_metrics(note=text, loss=-1.5)
    return uri


def test_texts_that_a_spreadsheet_would_compute_are_quoted(computing: str, tmp_path: Path) -> None:
    # Fails when `CsvRows` writes texts as they are.
    run(COMMAND, "--uri", computing, "-o", str(tmp_path / "points.csv"))
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["trial_name"] for row in rows} == {"'=cmd()"}
    assert [row["value"] for row in rows if row["name"] == "note"] == [
        f"'{each}" for each in FORMULAS
    ] + NUMBERS
    assert {row["value"] for row in rows if row["name"] == "loss"} == {"-1.5"}


def test_programs_get_the_texts_as_they_are(computing: str, tmp_path: Path) -> None:
    run(COMMAND, "--uri", computing, "--keep-formulas", "-o", str(tmp_path / "points.csv"))
    with (tmp_path / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows if row["name"] == "note"] == FORMULAS + NUMBERS


def test_other_formats_have_no_formulas(computing: str, tmp_path: Path) -> None:
    run(COMMAND, "--uri", computing, "-o", str(tmp_path / "points.json"))
    rows = json.loads((tmp_path / "points.json").read_text())
    assert [row["value"] for row in rows if row["name"] == "note"] == FORMULAS + NUMBERS
