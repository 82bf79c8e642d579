"""The store in a local file."""

from track import TrackClient

client = TrackClient("file://report.json")

with client.new_trial(name="local") as trial:
    trial.log_metrics(step=0, loss=0.5)
