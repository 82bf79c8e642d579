"""The tracker in short: an experiment, a run, a metric behind each epoch."""

import math

from track import Tracker

tracker = Tracker(all_exp_dir="./experiments")
tracker.set_experiment("mnist_run")
tracker.start_run(run_name="baseline", hparams={"lr": 0.01, "batch_size": 32})

for epoch in range(10):
    loss = math.exp(-epoch)
    tracker.log({"train_loss": float(loss)}, step=epoch)

tracker.end_run()
