"""Self-signed certificates."""

from __future__ import annotations

import datetime

from cryptography import x509

from track_protocol.security.selfsigned import new_key, self_signed

NOW = datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)


def test_a_certificate_shows_its_own_key_under_its_name_for_twenty_years() -> None:
    key = new_key()
    made = x509.load_pem_x509_certificate(self_signed(key, "somebody", NOW))
    made.verify_directly_issued_by(made)
    assert made.public_key() == key.public_key()
    assert made.subject.rfc4514_string() == "CN=somebody"
    assert made.not_valid_before_utc < NOW < made.not_valid_after_utc
    assert (made.not_valid_after_utc - NOW).days == 20 * 365
