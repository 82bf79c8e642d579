"""The table of stores: every scheme opens, and a URI that names no store is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from track_protocol.errors import StoreInUse, TrackError, UnknownScheme, UriError
from track_server.stores import check_store_uri, open_store


@pytest.mark.parametrize(
    ("uri", "kind", "part"),
    [
        ("cockroach://localhost", UnknownScheme, "sqlite, file, ephemeral"),
        ("socket://ann:secret@localhost", UnknownScheme, "a store is one of"),
        ("sqlite:", UriError, "sqlite:runs.db"),
        ("file:", UriError, "file:runs.json"),
        ("sqlite:runs.db?sync=off", UriError, "sync"),
        ("::", UriError, "::"),
    ],
)
def test_a_store_that_cannot_be_meant_is_refused(uri: str, kind: type[TrackError], part: str) -> None:
    with pytest.raises(kind, match=part) as caught:
        check_store_uri(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["sqlite:{}/runs.db", "file:{}/runs.json", "ephemeral:"])
def test_every_scheme_opens_a_store(tmp_path: Path, uri: str) -> None:
    store = open_store(uri.format(tmp_path), exclusive=True)
    try:
        assert store.uri == uri.format(tmp_path)
        assert len(store.generation) == 32
    finally:
        store.close()


@pytest.mark.parametrize("uri", ["sqlite:{}/runs.db", "file:{}/runs.json"])
def test_a_served_store_names_its_server_to_others(tmp_path: Path, uri: str) -> None:
    text = uri.format(tmp_path)
    store = open_store(text, exclusive=True, served_as="socket://node7:8123")
    try:
        with pytest.raises(StoreInUse, match="socket://node7:8123"):
            open_store(text, exclusive=False)
    finally:
        store.close()
