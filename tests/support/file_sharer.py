"""A process among many that have one ``file:`` store open; records what was confirmed as stored.

Run as ``python file_sharer.py URI NAME RECORD ROUNDS``.  In each round it tags and logs to the
trial called ``shared``, then claims a trial called ``free``.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from track.persistence import get_protocol
from track_protocol.errors import ItemNotFound
from track_protocol.model.entities import Status

FREE = {"name": "free", "status": Status.CreatedGroup}


def main(uri: str, name: str, record: str, rounds: int) -> None:
    """Work, and record each update once it is durable."""
    confirmed = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    protocol = get_protocol(uri)
    (shared,) = protocol.fetch_trials({"name": "shared"})
    for number in range(rounds):
        protocol.fetch_and_update_trial({"name": "shared"}, "add_trial_tags", **{f"{name}.{number}": 1})
        protocol.metric_writer(shared)(number, {name: float(number)})
        protocol.flush()
        os.write(confirmed, f"logged {name}.{number}\n".encode())
        with suppress(ItemNotFound):
            claimed = protocol.fetch_and_update_trial(FREE, "set_trial_status", Status.Running)
            os.write(confirmed, f"claimed {claimed.uid}\n".encode())
    protocol.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
