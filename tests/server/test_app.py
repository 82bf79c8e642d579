"""Settings of a server: what is understood, and what is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from track_protocol.errors import StoreError, StoreInUse, UriError, UsageError
from track_server.app import (
    DEFAULT_PORT,
    Settings,
    assemble,
    settings_from_uri,
    uses_plaintext,
)
from track_server.stores import open_store


@pytest.mark.parametrize("layer", [None, "", "None", "AES", "aes"])
def test_saying_nothing_means_encryption(layer: str | None) -> None:
    assert not uses_plaintext(layer)


def test_plain_text_has_to_be_asked_for() -> None:
    assert uses_plaintext("plaintext")


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="security_layer=DES is unknown"):
        uses_plaintext("DES")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])  # noqa: S104 - nothing listens
def test_plain_text_is_refused_where_the_network_would_see_it(tmp_path: Path, host: str) -> None:
    settings = Settings(backend="ephemeral:", host=host, home=tmp_path / "home", plaintext=True)
    with pytest.raises(UsageError, match="would show every token"):
        assemble(settings)
    assert not (tmp_path / "home").exists()


# -- stores --------------------------------------------------------------------------------------


def test_the_store_is_in_the_home_by_default(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).store_uri == f"sqlite:{tmp_path}/track.db"


def test_assembling_locks_the_store_and_a_failure_leaves_it_free(tmp_path: Path) -> None:
    settings = Settings(backend=f"sqlite:{tmp_path / 'none' / 'runs.db'}", home=tmp_path / "home")
    with pytest.raises(StoreError, match="does not exist"):
        assemble(settings)
    (tmp_path / "none").mkdir()
    parts = assemble(settings)
    try:
        with pytest.raises(StoreInUse):
            assemble(settings)
    finally:
        parts.engine.close()


# -- the documented URI of a server ---------------------------------------------------------------


def test_the_documented_uri_of_a_server_is_understood(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = settings_from_uri(
        f"socket://localhost:9000?security_layer=AES&home={home}&backend=file:runs.json"
    )
    assert (settings.host, settings.port, settings.plaintext) == ("localhost", 9000, False)
    assert (settings.backend, settings.home) == ("file:runs.json", home)


def test_a_uri_without_a_port_takes_the_default_and_port_zero_any() -> None:
    assert settings_from_uri("socket://localhost").port == DEFAULT_PORT
    assert settings_from_uri("socket://localhost:0").port == 0


@pytest.mark.parametrize(
    "uri", ["socket:", "http://localhost", "socket://localhost?pim=1", "sqlite:x", "socket://localhost,node1"]
)
def test_a_uri_that_no_server_can_listen_on_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        settings_from_uri(uri)


@pytest.mark.parametrize(("listens", "reported"), [("0.0.0.0", "localhost"), ("127.0.0.1", "127.0.0.1")])  # noqa: S104 - nothing listens
def test_whoever_finds_the_store_taken_gets_an_address_that_works(
    tmp_path: Path, listens: str, reported: str
) -> None:
    store = f"sqlite:{tmp_path}/runs.db"
    parts = assemble(Settings(backend=store, host=listens, port=9000, home=tmp_path / "home"))
    try:
        with pytest.raises(StoreInUse, match=f"socket://{reported}:9000"):
            open_store(store, exclusive=True)
    finally:
        parts.engine.close()


# -- leases --------------------------------------------------------------------------------------


def test_the_uri_of_a_server_says_how_long_a_lease_is() -> None:
    assert settings_from_uri("socket://localhost?lease=0.5").lease == 0.5
    assert settings_from_uri("socket://localhost").lease == Settings().lease == 60.0
    with pytest.raises(UriError, match="lease"):
        settings_from_uri("socket://localhost?lease=long")


@pytest.mark.parametrize("lease", [-1.0, float("nan"), float("inf")])
def test_a_lease_that_cannot_be_is_refused(tmp_path: Path, lease: float) -> None:
    settings = Settings(backend="ephemeral:", home=tmp_path / "home", lease=lease)
    with pytest.raises(UsageError, match="give 0 or more"):
        assemble(settings)
    assert not (tmp_path / "home").exists()
