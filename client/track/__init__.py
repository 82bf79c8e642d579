"""Client of the tracking server."""
