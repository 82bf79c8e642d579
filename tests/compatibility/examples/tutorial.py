"""The tutorial of the guide: three lines of tracking in a script, and no block, start or finish."""

import argparse
from typing import Any

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from track import TrackClient


def test(model: Any, images: Any, targets: Any, trial: Any) -> None:
    """Tell the error rate on pictures that the model has not seen."""
    correct = int((model.predict(images) == targets).sum())
    trial.log_metrics(error_rate=1 - (correct / len(targets)))


parser = argparse.ArgumentParser(description="digits")
parser.add_argument("--store", default="file:mnist_example.json")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--lr", type=float, default=0.01)
args = parser.parse_args()
client = TrackClient(args.store)
trial = client.new_trial(arguments=args)

digits = load_digits()
images, targets = digits.data / 16, digits.target
model = SGDClassifier(learning_rate="constant", eta0=args.lr, random_state=1)
for _ in range(args.epochs):
    model.partial_fit(images[:1500], targets[:1500], classes=range(10))
    test(model, images[1500:], targets[1500:], trial)
