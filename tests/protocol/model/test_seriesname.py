"""Names of series with labels: one canonical text for each."""

from __future__ import annotations

import enum
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from track_protocol.errors import BadValue
from track_protocol.model.seriesname import MAX_SERIES_BYTES, SeriesName, check_series_name, labelled

# Pieces of the syntax come often, so that names are made that look like labels and are none.
_PIECES = st.sampled_from(["a", "b", "{", "}", '"', "=", ",", "\\", "\n", "n", '"}', '{a="', '",b="', " "])
_TEXTS = st.lists(_PIECES | st.text(max_size=3), max_size=10).map("".join)
_LABELS = st.from_regex(r'[^{}",=\\\s\x00-\x1f\x7f-\x9f]{1,6}', fullmatch=True)
_CONTEXTS = st.dictionaries(_LABELS, _TEXTS, max_size=4)


class Phase(enum.StrEnum):
    TRAIN = "train"


@pytest.mark.parametrize(
    ("name", "context", "text"),
    [
        ("loss", {}, "loss"),
        ("loss", {"phase": "train"}, 'loss{phase="train"}'),
        ("loss", {"split": "a", "phase": "train"}, 'loss{phase="train",split="a"}'),
        ("loss", {"a": 'b"c\\d\ne'}, 'loss{a="b\\"c\\\\d\\ne"}'),
        ("loss", {"fold": 3, "best": True, "lr": 0.5, "phase": Phase.TRAIN}, None),
        ("loss{", {"a": "b"}, 'loss{{a="b"}'),
        ('loss{b="1"}', {"a": "2"}, 'loss{a="2",b="1"}'),
        ('loss{b="1"}', {"b": "2"}, 'loss{b="2"}'),
    ],
)
def test_a_series_has_one_text(name: str, context: dict[str, Any], text: str | None) -> None:
    assert SeriesName(name, context).text == (text or 'loss{best="true",fold="3",lr="0.5",phase="train"}')


@given(_TEXTS, _CONTEXTS)
@example('a{b="', {"c": ",d=", "e": "f"})
def test_a_series_reads_back_from_its_text(name: str, context: dict[str, str]) -> None:
    series = SeriesName(name, context)
    assert SeriesName.parse(series.text) == series
    read = SeriesName.parse(series.text)
    if name:
        assert (read.name, dict(read.context)) == (series.name, dict(series.context))


@given(_TEXTS)
@example('loss{b="1",a="2"}')
@example('loss{a="1",a="2"}')
@example('{a="1"}')
@example('loss{a="\\x"}')
@example('loss{a="b"}c="d"}')
@example("loss{}")
def test_every_text_is_that_of_a_series(text: str) -> None:
    assert SeriesName.parse(text).text == text


@pytest.mark.parametrize("text", ['loss{b="1",a="2"}', 'loss{a="1",a="2"}', '{a="1"}', 'l{a="1", b="2"}'])
def test_text_without_exactly_formed_labels_is_a_plain_name(text: str) -> None:
    series = SeriesName.parse(text)
    assert (series.name, dict(series.context)) == (text, {})


@given(st.dictionaries(_TEXTS.filter(bool), st.integers(), max_size=3), _CONTEXTS)
def test_values_are_labelled_as_their_names_are(values: dict[str, int], context: dict[str, str]) -> None:
    assert labelled(values, context) == {
        SeriesName(name, context).text: value for name, value in values.items()
    }


@pytest.mark.parametrize("label", ["", "a b", 'a"', "a{", "a}", "a,", "a=", "a\\", "a\x00", 3, None])
def test_an_invalid_label_is_refused(label: Any) -> None:
    with pytest.raises(BadValue, match="cannot be a label of a context"):
        SeriesName("loss", {label: "x"})


@pytest.mark.parametrize("value", [None, [], b"x", {}])
def test_a_label_has_a_text_or_a_number(value: Any) -> None:
    with pytest.raises(BadValue, match="label 'phase' of a context is of type"):
        SeriesName("loss", {"phase": value})


class Loud:
    """What cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


class Layer(enum.IntEnum):
    FIRST = 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.1), "0.1"),
        (np.float32(0.5), "0.5"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (np.str_("train"), "train"),
        (Layer.FIRST, "1"),
        (Phase.TRAIN, "train"),
        (float("nan"), "nan"),
    ],
)
def test_a_label_is_the_plain_form_of_its_value(value: Any, text: str) -> None:
    assert SeriesName("loss", {"a": value}).text == f'loss{{a="{text}"}}'
    assert list(labelled({"loss": 1}, {"a": value})) == [f'loss{{a="{text}"}}']


def test_a_label_may_be_of_a_class_of_strings() -> None:
    assert type(next(iter(SeriesName("loss", {Phase.TRAIN: 1}).context))) is str


@pytest.mark.parametrize("context", ["train", ["phase"], {("phase", "train")}, 3, Loud()])
def test_a_context_is_a_mapping(context: Any) -> None:
    with pytest.raises(BadValue, match="is not a dict: give a dict"):
        SeriesName("loss", context)


@pytest.mark.parametrize("context", [{Loud(): 1}, {"phase": Loud()}, {Loud(): Loud()}])
def test_a_label_whose_repr_raises_is_refused(context: Any) -> None:
    with pytest.raises(BadValue, match="context"):
        labelled({"loss": 1}, context)
    with pytest.raises(BadValue, match="type Loud"):
        check_series_name(Loud())


def test_a_name_of_another_type_is_returned_unchanged() -> None:
    values: Any = {3: 1, None: 2}
    assert labelled(values, {"a": "b"}) == values


def test_invalid_labels_are_not_cached() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            labelled({"loss": 1}, {"a": f"{number}" + "x" * 100_000})
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_name_far_over_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("track_protocol.model.seriesname._LABELLED", None)
    with pytest.raises(BadValue, match="give 1 to 1024"):
        check_series_name('loss{a="' + "x" * 10_000 + '"}')


def test_a_series_is_a_value() -> None:
    series = SeriesName("loss", {"b": "1", "a": "2"})
    assert {series: 1}[SeriesName("loss", {"a": "2", "b": "1"})] == 1
    assert pickle.loads(pickle.dumps(series)) == series  # noqa: S301 # made in this line
    with pytest.raises(AttributeError, match="is immutable"):
        series.name = "other"
    with pytest.raises(TypeError):
        series.context["a"] = "3"  # type: ignore[index]  # that is the point


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has 0 bytes"),
        ("x" * 257, "has 257 bytes of UTF-8: give 1 to 256"),
        ("x" * 257 + '{a="b"}', "has 257 bytes of UTF-8: give 1 to 256"),
        ("x" * 256 + '"}', "has 258 bytes of UTF-8: give 1 to 256"),
        (SeriesName("x", {"a": "y" * MAX_SERIES_BYTES}).text, "has 1031 bytes of UTF-8: give 1 to 1024"),
        (SeriesName("x", {"a": "tab\t"}).text, "contains a control character"),
        (3, "of type int"),
    ],
)
def test_an_invalid_series_name_is_refused(text: Any, complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint):
        check_series_name(text)


def test_labels_may_be_longer_than_a_name() -> None:
    text = SeriesName("x" * 256, {"split": "y" * 700}).text
    assert check_series_name(text) == text
