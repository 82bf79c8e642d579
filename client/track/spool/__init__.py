"""The spool: what is not known to be stored yet, on this machine's disk (`DESIGN.md` has the reasoning)."""
