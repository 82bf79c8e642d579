"""A run as a context: completed at its end, failed when the body raises."""

from track import Tracker

tracker = Tracker()
tracker.set_experiment("mnist")
with tracker.run(name="lr=0.01", config={"lr": 0.01}) as run_id:
    for step in range(100):
        tracker.record("loss", 1 / (step + 1), step)
print(run_id)

try:
    with tracker.run(name="diverges"):
        tracker.record("loss", float("inf"), 0)
        raise FloatingPointError("the loss is infinite")
except FloatingPointError as error:
    print(error)
