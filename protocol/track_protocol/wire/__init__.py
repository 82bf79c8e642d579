"""The conversation between client and server: frames, events, batches, methods; no I/O."""
