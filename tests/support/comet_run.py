"""One trial of Comet, in a process of its own, since comet_ml patches what it finds imported.

Run as ``python comet_run.py URI [TOKEN]`` with ``COMET_OFFLINE_DIRECTORY`` set; prints the trial's id.
A token gets into whatever a script can put it into.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from track import TrackClient
from track.persistence.cometml import CometMLProtocol
from track_protocol.errors import ItemNotFound, UsageError


def leak(uri: str, token: str) -> None:
    """Log a token in each way."""
    client = TrackClient(uri)
    client.set_project(name=f"project {token}")
    client.set_group(name=f"group {token}")
    with (
        suppress(ValueError),
        client.new_trial(f"name {token}", parameters={"a": {"b": token}, token: 1}) as trial,
    ):
        trial.log_metrics({"word": token, token: 1.0}, step=1)
        trial.log_metadata({"words": [token], token: 1})
        trial.add_tags({"tag": token, token: 1})
        trial.log_text("text", token)
        trial.log_text(token, "text")
        trial.log_histogram(token, [1.0, 2.0])
        Path("notes.txt").write_text(f"the token is {token}")
        trial.log_file("notes.txt")
        with trial.chrono(token):
            pass
        raise ValueError(token)
    stored = client.trial
    assert stored is not None
    assert stored.id is not None
    client.protocol.rename_trial(stored, f"other {token}", f"description {token}")
    client.close()
    sys.stdout.write(stored.id.hex())


def main(uri: str) -> None:
    """Log one item of each kind, then make reads and calls that Comet cannot serve."""
    client = TrackClient(uri)
    client.set_project(name="paper")
    client.set_group(name="idea")
    try:
        with client.new_trial(name="first", arguments={"lr": 0.1, "deep": {"layers": 3}}) as trial:
            trial.log_metrics(step=1, loss=0.5)
            trial.log_metrics(step=2, loss=0.25, note="text")
            trial.log_metrics(accuracy=0.9)
            trial.log_metadata(host="node7", sizes=[1, 2])
            trial.add_tags(best=True)
            with trial.chrono("epoch"):
                pass
            raise ValueError("the end")
    except ValueError:
        pass
    stored = client.trial
    assert stored is not None
    assert stored.id is not None
    client.protocol.rename_trial(stored, description="about it")
    if isinstance(client.protocol, CometMLProtocol):
        refused(client)
    client.close()
    sys.stdout.write(stored.id.hex())


def refused(client: TrackClient) -> None:
    """Make calls that Comet cannot serve, each of which is an error."""
    trial = client.trial
    assert trial is not None
    for read in (
        lambda: client.protocol.fetch_trials({}),
        lambda: client.protocol.fetch_metrics(trial, "loss"),
        client.protocol.fetch_table,
        lambda: client.protocol.fetch_rows([trial]),
        client.protocol.fetch_fields,
        client.protocol.fetch_groups_of,
        client.protocol.fetch_changes,
        lambda: client.protocol.remove_trial_tags(trial, ["best"]),
        lambda: client.protocol.fetch_and_update_trial({}, "log_trial_start"),
        client.protocol.fetch_rejected,
    ):
        try:
            read()
        except UsageError:
            continue
        raise AssertionError("it was answered")
    client.protocol.close()
    try:
        client.protocol.log_trial_metrics(trial, 3, loss=0.1)
    except ItemNotFound:
        return
    raise AssertionError("it was taken")


if __name__ == "__main__":
    leak(*sys.argv[1:]) if len(sys.argv) > 2 else main(sys.argv[1])
