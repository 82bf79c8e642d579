"""Addresses, trust and links: how a client connects to a server."""
