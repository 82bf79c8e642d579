"""A server with its board, in the test's own process."""

from board_server import client, network, own, reader, served, settings, url, writer

__all__ = ["client", "network", "own", "reader", "served", "settings", "url", "writer"]
