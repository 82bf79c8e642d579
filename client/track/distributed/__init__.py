"""Stores that are spread over machines."""
