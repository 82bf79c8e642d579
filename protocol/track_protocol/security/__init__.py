"""Authentication of both sides: SCRAM, tokens, pins, and the requirements on TLS."""
