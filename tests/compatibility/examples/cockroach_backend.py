"""A running CockroachDB as the store."""

from track import TrackClient

address = "127.0.0.1"
port = 8123
client = TrackClient(f"cockroach://{address}:{port}")
