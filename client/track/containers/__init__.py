"""Containers that keep a bounded part of what is put into them."""
