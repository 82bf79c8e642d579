"""The outbox: log calls leave their records here, and one thread carries them on (see `DESIGN.md`).

The way of a point::

    write(step, values)          checks, one tuple, one append: no lock, no system call
      → records (a deque)           whatever came since the sender looked last
      → backlog                  batches, packed column-wise and numbered for life
      → link                     sent, and sent again after a break, until acknowledged as durable

Calls with an answer and flushes are in the same queue as futures, so they see, or wait for, all that
was logged before them.
"""

from __future__ import annotations

from track.outbox.outbox import Creation, Outbox
from track.outbox.writers import Write

__all__ = ["Creation", "Outbox", "Write"]
