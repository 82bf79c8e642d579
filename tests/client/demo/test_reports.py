from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from track.demo.reports import TrialReport, WorkerReport
from track_protocol.errors import StoreCorrupt

REPORT = WorkerReport(
    "worker-1",
    [
        TrialReport("aa_0", Counter(loss=90, accuracy=90), Counter(epoch=1)),
        TrialReport("aa_0", Counter(loss=3)),
    ],
)


def test_a_report_reads_back_as_it_was_written_two_claims_of_one_trial_included(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.json"
    path.write_text(REPORT.to_json())
    assert WorkerReport.read(path) == REPORT


def test_metrics_and_timings_are_points() -> None:
    assert [trial.points for trial in REPORT.trials] == [181, 3]
    assert REPORT.points == 184


@pytest.mark.parametrize("text", ["", "{", "{}", '{"worker": "w", "trials": [{}]}', "[]"])
def test_an_incomplete_report_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "worker-1.json"
    path.write_text(text)
    with pytest.raises(StoreCorrupt, match=r"worker-1\.json"):
        WorkerReport.read(path)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupt, match=r"worker-7\.json"):
        WorkerReport.read(tmp_path / "worker-7.json")
