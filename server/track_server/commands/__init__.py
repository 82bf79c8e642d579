"""The server's subcommands of ``track``."""
