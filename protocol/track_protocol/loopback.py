"""Which hosts are this machine itself."""

from __future__ import annotations

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether `host` can only mean this machine: ``localhost``, 127.0.0.0/8 or ``::1``.

    Names are not looked up: any other name may lead elsewhere.
    """
    import ipaddress

    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
