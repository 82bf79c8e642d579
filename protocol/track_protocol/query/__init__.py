"""The query language: read, checked, and held against documents."""
