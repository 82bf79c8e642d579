"""A stored trial with its points at hand."""

from __future__ import annotations

import pickle
import re

import pytest

from track import TrackClient
from track.reading.runs import Runs
from track.reading.trials import StoredTrial
from track_protocol.errors import ItemNotFound


def stored(client: TrackClient) -> StoredTrial:
    (trial,) = Runs(client.protocol)
    return trial


@pytest.fixture
def trial(client: TrackClient) -> StoredTrial:
    """One with a metric of two ranks, one of three points, and one that has texts as steps."""
    with client.new_trial(name="a", arguments={"lr": 0.1, "model": {"width": 64}}) as logger:
        for step in range(3):
            logger.log_metrics(step=step, loss=1.0 / (1 + step))
        for rank in ("0", "10"):
            logger.log_metrics(step=5, context={"rank": rank}, accuracy=0.5)
        logger.log_metrics(step="last", score=1.0)
        logger.add_tags(team="vision")
    return stored(client)


def test_the_history_of_a_metric_has_its_points(trial: StoredTrial) -> None:
    history = trial.history("loss")
    assert list(history) == ["step", "time", "value"]
    assert [list(history[name]) for name in ("step", "value")] == [[0, 1, 2], [1.0, 0.5, 1.0 / 3]]


def test_labels_are_columns_and_a_rank_is_a_number(trial: StoredTrial) -> None:
    history = trial.history("accuracy")
    assert list(history) == ["rank", "step", "time", "value"]
    assert list(history["rank"]) == [0, 10]


def test_a_context_selects_series(trial: StoredTrial) -> None:
    assert trial.history("accuracy", context={"rank": 10}).count == 1


def test_a_series_is_found_by_its_text(trial: StoredTrial) -> None:
    assert list(trial.history('accuracy{rank="10"}')["rank"]) == [10]


def test_several_metrics_have_a_column_of_names(trial: StoredTrial) -> None:
    history = trial.history("loss", "accuracy")
    assert list(history["name"]) == ["loss"] * 3 + ["accuracy"] * 2
    assert list(history["rank"]) == [None, None, None, 0, 10]


def test_without_names_all_metrics_are_read(trial: StoredTrial) -> None:
    assert set(trial.history()["name"]) == {"loss", "accuracy", "score"}


def test_timings_are_a_kind_of_their_own(client: TrackClient) -> None:
    with client.new_trial(name="a") as logger, logger.chrono("step"):
        pass
    assert set(stored(client).history(kind="chrono")["name"]) == {"step", "runtime"}


def test_a_name_that_there_is_not_suggests_another(trial: StoredTrial) -> None:
    with pytest.raises(ItemNotFound, match="no metric 'los': did you mean 'loss'"):
        trial.history("los")


def test_the_summary_has_the_last_values(trial: StoredTrial) -> None:
    assert trial.summary["loss"] == 1.0 / 3


def test_it_is_printed_in_a_few_words(trial: StoredTrial) -> None:
    assert repr(trial) == f"<trial {trial.uid[:8]}_0 'a': completed>"


def test_it_is_the_trial_that_a_store_knows(client: TrackClient, trial: StoredTrial) -> None:
    assert client.protocol.get_trial(trial) == [trial]
    assert client.protocol.delete_trial(trial)


def test_another_process_reads_it_too(trial: StoredTrial) -> None:
    copied = pickle.loads(pickle.dumps(trial))  # noqa: S301  # of this test's own making
    assert copied == trial
    assert list(copied.history("loss")["step"]) == [0, 1, 2]


def test_a_logger_reads_back_what_it_has_logged(client: TrackClient) -> None:
    logger = client.new_trial(name="a", arguments={"lr": 0.1})
    logger.log_metrics(step=1, loss=1.0)
    assert list(logger.history("loss")["value"]) == [1.0]
    logger.log_metrics(step=2, loss=0.5)
    assert list(logger.history("loss")["value"]) == [1.0, 0.5]
    assert logger.stored().summary["loss"] == 0.5
    assert "<td>params.lr</td><td>0.1</td>" in logger._repr_html_()


def test_a_logger_of_a_deleted_trial_says_so(client: TrackClient) -> None:
    logger = client.new_trial(name="a", arguments={"lr": 0.1})
    client.protocol.delete_trial(logger.trial, force=True)
    with pytest.raises(ItemNotFound, match="was deleted"):
        logger.stored()


def test_a_notebook_shows_its_fields(trial: StoredTrial) -> None:
    html = trial._repr_html_()
    assert "<td>params.model.width</td><td>64</td>" in html
    assert "<td>tags.team</td><td>vision</td>" in html


def test_a_notebook_shows_times_of_a_trial_as_times(trial: StoredTrial) -> None:
    assert re.search(r"<td>created</td><td>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", trial._repr_html_())


def test_what_was_logged_is_no_html(client: TrackClient) -> None:
    script = "<script>alert(1)</script>"
    with client.new_trial(name=script, arguments={script: script}) as logger:
        logger.log_metrics(**{script: 1.0})
    trial = stored(client)
    for html in (trial._repr_html_(), Runs(client.protocol)._repr_html_(), trial.history()._repr_html_()):
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
