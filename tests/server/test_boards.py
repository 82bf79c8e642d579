"""Boards put together: of a server, and what is said where a part is missing."""

from __future__ import annotations

import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from board_server import settings
from board_visits import Visit
from made_certificates import make_certificate
from running_server import serving
from track_protocol.errors import TrackError
from track_protocol.security.tls import pin_of_certificate
from track_protocol.wire.roles import Role
from track_server.app import Settings
from track_server.http.settings import HttpSettings

__all__ = ["settings"]

EVERYWHERE = HttpSettings("0.0.0.0", 0)  # noqa: S104


def shown_at(url: str) -> bytes:
    """The certificate at the port of a URL."""
    pem = ssl.get_server_certificate(("127.0.0.1", urlsplit(url).port or 0))
    return ssl.PEM_cert_to_DER_cert(pem)


def test_browsers_see_another_certificate_of_the_same_key(settings: Settings) -> None:
    with serving(replace(settings, http=EVERYWHERE, advertise="track.example")) as served:
        assert served.server is not None
        url = served.server.board_url or ""
        assert pin_of_certificate(shown_at(url)) == served.pin
        assert ssl.PEM_cert_to_DER_cert((served.home / "board.crt").read_text()) == shown_at(url)
        context = ssl.create_default_context(cafile=str(served.home / "board.crt"))
        visit = Visit(f"https://127.0.0.1:{urlsplit(url).port}/", tls=context)
        assert visit.get("/api/v1/session", Host="track.example").status == 200


def test_a_certificate_that_was_given_is_shown(settings: Settings, tmp_path: Path) -> None:
    made = make_certificate()
    certificate, key = made.write(tmp_path)
    given = replace(settings, http=EVERYWHERE, certificate=certificate, key=key)
    with serving(given) as served:
        assert served.server is not None
        assert shown_at(served.server.board_url or "") == made.der


def test_sessions_outlive_a_restart(settings: Settings) -> None:
    with serving(settings) as served:
        assert served.server is not None
        visit = Visit(served.server.board_url or "")
        assert visit.log_in(uri=served.join("rita", Role.READER)).status == 200
    with serving(settings) as served:
        assert served.server is not None
        url = served.server.board_url or ""
        # The cookie is named after the port, which is another one now.
        cookie = f"__Host-track-{urlsplit(url).port}={(visit.cookie or '').partition('=')[2]}"
        assert Visit(url, visit.key, cookie).call("fetch_projects", query={}).status == 200


def test_a_port_that_is_taken_is_named_and_leaves_nothing_behind(settings: Settings) -> None:
    with serving(settings) as served:
        assert served.server is not None
        port = urlsplit(served.server.board_url or "").port
        other = replace(settings, home=settings.home.with_name("other"), http=HttpSettings(port=port or 0))
        with pytest.raises(TrackError, match=f":{port}"), serving(other):
            pass


def test_without_the_extra_the_package_to_install_is_named() -> None:
    program = "import sys; sys.modules['starlette'] = None; import track_server.boards"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'trackwire[board]'" in run.stderr


def test_a_server_without_a_board_loads_nothing_of_it() -> None:
    program = (
        "import sys, track_server.network.process; print({'starlette', 'uvicorn', 'h11'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
