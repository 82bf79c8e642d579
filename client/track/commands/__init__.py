"""The client's subcommands of ``track``."""
