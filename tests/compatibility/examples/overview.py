"""The shortest program that tracks something."""

from track import TrackClient

client = TrackClient("file://client_test.json")
client.set_project(name="test_client")

trial = client.new_trial()
trial.log_arguments(batch_size=256)

with trial:
    trial.log_metrics(step=1, epoch_loss=1)
    trial.log_metrics(accuracy=0.98)

client.save()
client.report()
