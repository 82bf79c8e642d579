"""A client of that server; port, user and password are this program's arguments."""

import sys

from track import TrackClient

address = "127.0.0.1"
port, username, password = sys.argv[1:4]
layer = "AES"
client = TrackClient(f"socket://{username}:{password}@{address}:{port}?security_layer={layer}")

client.set_project(name="remote")
with client.new_trial(name="by socket") as trial:
    for step in range(3):
        trial.log_metrics(step=step, loss=1 / (step + 1))

client.report()
