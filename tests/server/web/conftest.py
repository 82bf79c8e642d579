"""A server with its board in the test's own process, and a browser."""

from board_server import client, own, reader, served, settings, url
from browser import browser, built, open_page, page

__all__ = ["browser", "built", "client", "open_page", "own", "page", "reader", "served", "settings", "url"]
