"""Everything both sides of the wire share: no I/O, no threads, no clock of its own."""
