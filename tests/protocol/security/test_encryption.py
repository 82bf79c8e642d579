from __future__ import annotations

from dataclasses import dataclass

import pytest

from track_protocol.errors import EncryptionMismatch
from track_protocol.security.encryption import check_negotiated


@dataclass
class Agreed:
    """What a handshake could have led to."""

    tls: str | None = "TLSv1.3"
    suite: str | None = "TLS_AES_256_GCM_SHA384"
    alpn: str | None = "track/1"

    def version(self) -> str | None:
        return self.tls

    def cipher(self) -> tuple[str, str, int] | None:
        return (self.suite, "TLSv1.3", 256) if self.suite else None

    def selected_alpn_protocol(self) -> str | None:
        return self.alpn


def test_the_one_right_outcome_is_accepted() -> None:
    check_negotiated(Agreed())


@pytest.mark.parametrize(
    ("agreed", "named"),
    [
        (Agreed(tls="TLSv1.2"), "TLSv1.2"),
        (Agreed(tls=None), "none"),
        (Agreed(suite="TLS_AES_128_GCM_SHA256"), "TLS_AES_128_GCM_SHA256"),
        (Agreed(suite="TLS_CHACHA20_POLY1305_SHA256"), "CHACHA20"),
        (Agreed(suite=None), "none"),
        (Agreed(alpn=None), "none"),
        (Agreed(alpn="h2"), "h2"),
    ],
)
def test_any_other_outcome_is_refused_by_name(agreed: Agreed, named: str) -> None:
    with pytest.raises(EncryptionMismatch, match=named):
        check_negotiated(agreed)


def test_what_is_spoken_inside_may_have_another_name() -> None:
    check_negotiated(Agreed(alpn="other/1"), "other/1")
    with pytest.raises(EncryptionMismatch, match="other/1"):
        check_negotiated(Agreed(), "other/1")
