"""The MNIST script as it is usually written, with three lines of tracking.

The pictures of digits are those that scikit-learn brings, so that nothing has to be downloaded.
"""

import argparse
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from track import TrackClient


def test(model: Any, images: Any, targets: Any, trial: Any) -> None:
    """Tell the error rate on pictures that the model has not seen."""
    correct = int((model.predict(images) == targets).sum())
    trial.log_metrics(error_rate=1 - (correct / len(targets)))


def main() -> None:
    """Train, and test behind each epoch."""
    parser = argparse.ArgumentParser(description="digits")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--no-cuda", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    client = TrackClient("file:mnist_example.json")
    trial = client.new_trial(arguments=args)

    digits = load_digits()
    images, targets = digits.data / 16, digits.target
    model = SGDClassifier(learning_rate="constant", eta0=args.lr, random_state=args.seed)
    order = np.random.default_rng(args.seed)
    with trial:
        for _ in range(args.epochs):
            for rows in np.array_split(order.permutation(1500), 1500 // args.batch_size):
                model.partial_fit(images[rows], targets[rows], classes=range(10))
            test(model, images[1500:], targets[1500:], trial)


if __name__ == "__main__":
    main()
