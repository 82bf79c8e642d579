"""Finding a server, trusting it, and talking to it."""
