"""Parses filters; `track_protocol.query.filters` describes them.

A hand-written descent over the text: nothing in it is ever evaluated, and every error names its
column and the expected token.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

from track_protocol.errors import BadQuery
from track_protocol.model.values import INT_MAX, INT_MIN
from track_protocol.query.filters import (
    KEYWORDS,
    Comparison,
    Conjunction,
    Disjunction,
    Duration,
    Existence,
    Filter,
    Membership,
    Negation,
    Value,
    filter_query,
)
from track_protocol.query.names import Store
from track_protocol.query.parse import Kind, normalise_query

__all__ = ["MAX_FILTER", "parse_filter", "query_of", "read_names"]

MAX_FILTER: Final = 65_536
"""Characters of a filter."""

_MAX_DEPTH: Final = 12
"""Parentheses and nots within each other; a query may be nested 32 levels deep, and these are two each."""

_SHOWN: Final = 60
_MAX_DIGITS: Final = 40
"""Maximum digits of an integer that are read: a longer one is too large in any case."""

_SPACE: Final = re.compile(r"\s*")
_NAME_START: Final = re.compile(r"[^\W\d][\w.\-/:@]*")
_NAME_REST: Final = re.compile(r"[\w.\-/:@]+")
_LABEL: Final = re.compile(r'[^{}",=\\\s]+')
_OPERATOR: Final = re.compile(r"<=|>=|!=|!~|==|[<>=~]")
_WORD: Final = re.compile(r"""[^\s()'",=<>!~{}]+""")
_KEYWORD: Final = re.compile(r"[A-Za-z]+(?![\w.\-/:@{\"'])")
_BETWEEN_COMMAS: Final = re.compile(
    r"""((?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\{[^{}]*\}|[^,])*),""", re.DOTALL
)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]{1,5})?")
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|min|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_WORDS: Final[dict[str, Value]] = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "inf": float("inf"),
    "+inf": float("inf"),
    "-inf": float("-inf"),
}
_ESCAPED: Final = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}
_AN_OPERATOR: Final = "one of = != < <= > >= ~ in contains exists"
_A_NAME: Final = "a name, such as status or params.lr"
_A_VALUE: Final = "a value (put quotes around a text that has spaces in it)"


def parse_filter(text: str) -> Filter | None:
    """The filter that a text is; None for a blank one.

    Raises:
        BadQuery: it cannot be parsed; the message names the column and the expected token.
    """
    if len(text) > MAX_FILTER:
        raise BadQuery(f"a filter has at most {MAX_FILTER:,} characters, not {len(text):,}")
    return _Reader(text).read() if text.strip() else None


def query_of(text: str, kind: Kind = "trial", store: Store | None = None) -> dict[str, object]:
    """The query (see `track_protocol.query.parse`) of a filter.

    Args:
        text: the filter.
        kind: the kind of object to select.
        store: what the store has; see `filter_query`.

    Raises:
        BadQuery: the filter cannot be parsed; the message gives the column.
    """
    filter = parse_filter(text)
    return {} if filter is None else normalise_query(filter_query(filter, kind, store))


def read_names(text: str) -> list[str]:
    """The names of a text that has commas between them, written as in filters.

    A name that a filter would not take without quotes is taken as it is.
    """
    return [_as_in_filters(match[1].strip()) for match in _BETWEEN_COMMAS.finditer(f"{text},")]


def _as_in_filters(name: str) -> str:
    try:
        return _Reader(name).read_name()
    except BadQuery:
        return name


class _Reader:
    """A text, and how far it was read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def read(self) -> Filter:
        filter = self._disjunction()
        self._skip()
        if self._at < len(self._text):
            self._fail("'and', 'or' or the end")
        return filter

    def read_name(self) -> str:
        name = self._name()
        self._skip()
        if self._at < len(self._text):
            self._fail("the end of the name: put quotes around a name that has spaces in it")
        return name

    # -- the parts of a filter -------------------------------------------------------------------

    def _disjunction(self) -> Filter:
        parts = [self._conjunction()]
        while self._keyword("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Disjunction(tuple(parts))

    def _conjunction(self) -> Filter:
        parts = [self._negation()]
        while self._keyword("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Conjunction(tuple(parts))

    def _negation(self) -> Filter:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            self._fail(f"at most {_MAX_DEPTH} nested parentheses and nots")
        found: Filter
        if self._keyword("not"):
            found = Negation(self._negation())
        elif self._symbol("("):
            found = self._disjunction()
            self._need(")")
        else:
            found = self._comparison()
        self._depth -= 1
        return found

    def _comparison(self) -> Filter:
        self._skip()
        column = self._at + 1
        name = self._name()
        negated = self._keyword("not")
        if self._keyword("in"):
            return Membership(name, self._list(), negated, column)
        if self._keyword("contains"):
            return Comparison(name, "!~" if negated else "~", self._part(), column)
        if negated:
            self._fail("'in' or 'contains'")
        if self._keyword("exists"):
            return Existence(name, column)
        found = _OPERATOR.match(self._text, self._at)
        if found is None:
            self._fail(_AN_OPERATOR)
        self._at = found.end()
        operator = "=" if found[0] == "==" else found[0]
        return Comparison(name, operator, self._part() if "~" in operator else self._value(), column)

    def _list(self) -> tuple[Value, ...]:
        self._need("(")
        values = [self._value()]
        while self._symbol(","):
            values.append(self._value())
        self._need(")", "',' or ')'")
        return tuple(values)

    # -- names and values ------------------------------------------------------------------------

    def _name(self) -> str:
        """The name before an operator: plain, quoted and labelled pieces without space between."""
        parts: list[str] = []
        if self._peek_keyword() in KEYWORDS:
            self._fail(_A_NAME)
        while self._at < len(self._text):
            letter = self._text[self._at]
            if letter in "'\"":
                parts.append(self._string())
            elif letter == "{" and parts:
                parts.append(self._labels())
            elif found := (_NAME_REST if parts else _NAME_START).match(self._text, self._at):
                parts.append(found[0])
                self._at = found.end()
            else:
                break
        if not any(parts):
            self._fail(_A_NAME)
        return "".join(parts)

    def _labels(self) -> str:
        """Labels in their one canonical form: sorted, and quoted as in Prometheus."""
        labels: dict[str, str] = {}
        self._need("{")
        while True:
            self._skip()
            found = _LABEL.match(self._text, self._at)
            if found is None:
                self._fail('a label, as in {phase="train"}')
            self._at = found.end()
            self._need("=")
            self._skip()
            if self._text[self._at : self._at + 1] not in ("'", '"'):
                self._fail("the label's value in quotes")
            labels[found[0]] = self._string()
            if not self._symbol(","):
                break
        self._need("}", "',' or '}'")
        escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
        pairs = [
            f'{label}="{"".join(escaped.get(letter, letter) for letter in value)}"'
            for label, value in sorted(labels.items())
        ]
        return "{" + ",".join(pairs) + "}"

    def _value(self) -> Value:
        self._skip()
        if self._text[self._at : self._at + 1] in ("'", '"'):
            return self._string()
        found = _WORD.match(self._text, self._at)
        if found is None or found[0].lower() in KEYWORDS:
            self._fail(_A_VALUE)
        word = found[0]
        if word.lower() == "nan":
            self._fail("a value other than nan, which equals nothing")
        if _INTEGER.fullmatch(word) and not INT_MIN <= int(word[:_MAX_DIGITS]) <= INT_MAX:
            self._fail("an integer of at most 64 bits")
        value = _word_value(word)
        self._at = found.end()
        return value

    def _part(self) -> str:
        """Part of a text, where a word is only text."""
        self._skip()
        found = _WORD.match(self._text, self._at)
        if found is None or found[0].lower() in KEYWORDS:
            return str(self._value())  # in quotes, or none
        self._at = found.end()
        return found[0]

    def _string(self) -> str:
        quote, start = self._text[self._at], self._at
        parts: list[str] = []
        self._at += 1
        while (letter := self._text[self._at : self._at + 1]) != quote:
            if not letter:
                self._at = start
                self._fail(f"a closing {quote} for the one here")
            if letter == "\\":
                self._at += 1
                letter = _ESCAPED.get(self._text[self._at : self._at + 1], "")
                if not letter:
                    self._fail(r"one of \\ \' \" \n \t")
            parts.append(letter)
            self._at += 1
        self._at += 1
        return "".join(parts)

    # -- moving on -------------------------------------------------------------------------------

    def _skip(self) -> None:
        found = _SPACE.match(self._text, self._at)
        assert found is not None, "zero spaces match too"
        self._at = found.end()

    def _peek_keyword(self) -> str:
        found = _KEYWORD.match(self._text, self._at)
        return "" if found is None else found[0].lower()

    def _keyword(self, word: str) -> bool:
        self._skip()
        if self._peek_keyword() != word:
            return False
        self._at += len(word)
        return True

    def _symbol(self, symbol: str) -> bool:
        self._skip()
        if not self._text.startswith(symbol, self._at):
            return False
        self._at += len(symbol)
        return True

    def _need(self, symbol: str, expected: str | None = None) -> None:
        if not self._symbol(symbol):
            self._fail(expected or f"'{symbol}'")

    def _fail(self, expected: str) -> NoReturn:
        text, at = self._text, self._at
        word = _WORD.match(text, at)
        found = "the end" if at >= len(text) else repr(word[0][:20] if word else text[at])
        start = max(0, at - _SHOWN // 2)
        shown = "".join(c if c.isprintable() else " " for c in text[start : start + _SHOWN])
        raise BadQuery(
            f"column {at + 1}: expected {expected}, found {found}\n  {shown}\n  {' ' * (at - start)}^"
        )


def _word_value(word: str) -> Value:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if found := _DURATION.fullmatch(word):
        return Duration(float(found[1]) * _SECONDS[found[2]])
    return word
