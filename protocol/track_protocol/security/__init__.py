"""Who the other side is: SCRAM, tokens, pins, and what is required of TLS."""
