"""What a trial logs: metrics with and without a step, a timed block, metadata; and the trial's own report."""

from time import sleep

from track import TrackClient

client = TrackClient("ephemeral:")
trial = client.new_trial(name="calls")

with trial:
    for e in range(3):
        trial.log_metrics(step=e, epoch_loss=1 / (e + 1), metric2=e)
    trial.log_metrics(cost=12.5)
    with trial.chrono("long_compute"):
        sleep(0.05)
    trial.log_metadata(had_short_hair_when_running_this_trial=False)

trial.report()
