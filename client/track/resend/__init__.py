"""Sending what spools hold: replay at the next start and by ``track sync``."""
