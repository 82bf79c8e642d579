"""Containers of bounded size."""
