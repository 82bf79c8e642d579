from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demo_search import search
from track_protocol.model.entities import Status


def test_a_worker_runs_every_trial_and_reports_exactly_the_stored_points(training: Any, worker: Any) -> None:
    with search(2) as found:
        found.reports.append(worker.Worker(found.client, "worker-1", found.group, epochs=1).run())
        proof = found.verify()
        trials = found.trials()
    assert proof.faults == []
    assert [trial.uid for trial in found.reports[0].trials] == found.created
    assert {trial.status for trial in trials} == {Status.Completed}
    steps = len(training.Digits.load().train_labels) // training.BATCH_SIZE
    assert found.reports[0].trials[0].metrics == {
        "loss": steps,
        "accuracy": steps,
        "validation_loss": 1,
        "validation_accuracy": 1,
    }
    assert found.reports[0].trials[0].chronos == {"epoch": 1, "runtime": 1}


def test_a_worker_without_a_trial_reports_no_claim(worker: Any) -> None:
    with search(1) as found:
        worker.Worker(found.client, "worker-1", found.group, epochs=1).run()
        assert worker.Worker(found.client, "worker-2", found.group, epochs=1).run().trials == []


def test_without_an_address_the_worker_names_the_missing_variable(
    worker: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRACK_URI", raising=False)
    assert worker.main(["--name", "worker-1", "--group", "g", "--epochs", "1"]) == 2
    assert "TRACK_URI" in capsys.readouterr().err


def test_the_report_is_the_only_thing_on_standard_output(
    worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACK_URI", f"sqlite:{tmp_path / 'track.db'}")
    assert worker.main(["--name", "worker-1", "--group", "nobody's", "--epochs", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == {"worker": "worker-1", "trials": []}
