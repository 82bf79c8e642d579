"""A trial in a project and a group, with a timed block, and its report."""

from track import TrackClient

epochs = 2
dataset = [0.5, 0.25, 0.125] * 10

client = TrackClient("file://client_test.json")

project = client.set_project(name="paper_78997")
group = client.set_group(name="idea_4573")

trial = client.new_trial(name="final_trial_2", description="almost graduating")
trial.log_arguments(batch_size=256, lr=0.01, momentum=0.99)
trial.log_metadata(gpu="V100")

with trial:
    for e in range(epochs):
        loss = 0.0
        for batch in dataset:
            with trial.chrono("batch_time"):
                loss += batch
        trial.log_metrics(step=e, epoch_loss=loss)
    trial.log_metrics(accuracy=0.98)

client.report()
