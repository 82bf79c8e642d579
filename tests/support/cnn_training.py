"""A training program as users have them: a small CNN on pictures of 28 by 28, tracked over a socket.

``python cnn_training.py --uri URI``.  The pictures are the digits of scikit-learn, scaled to the size of
MNIST.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from track import TrackClient
from track.logger import TrialLogger

__all__ = ["main"]

_PICTURES = 640


def net() -> nn.Sequential:
    """Two convolutions and a linear layer; scores of the ten digits."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 5 * 5, 10),
    )


def pictures() -> tuple[Tensor, Tensor]:
    """Pictures of 1 x 28 x 28 from 0 to 1, and which digits they show."""
    digits = load_digits()
    small = torch.tensor(digits.images[: 2 * _PICTURES], dtype=torch.float32).unsqueeze(1) / 16
    large = nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    return large.clamp(0, 1), torch.tensor(digits.target[: 2 * _PICTURES])


def train(args: argparse.Namespace, trial: TrialLogger) -> nn.Sequential:
    """Train, and log each batch and each epoch."""
    torch.manual_seed(args.seed)
    images, targets = pictures()
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    batches = _PICTURES // args.batch_size
    trial.set_eta_total((args.epochs, batches))
    for epoch in range(args.epochs):
        for batch in range(batches):
            rows = slice(batch * args.batch_size, (batch + 1) * args.batch_size)
            with trial.chrono("batch_time") as timer:
                loss = nn.functional.cross_entropy(model(images[rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            step = epoch * batches + batch
            trial.log_metrics(step=step, context={"phase": "train"}, loss=loss)
            trial.show_eta((epoch, batch), timer)
        with torch.no_grad():
            scores = model(images[_PICTURES:])
        wrong = scores.argmax(1) != targets[_PICTURES:]
        error_rate = wrong.float().mean()
        trial.log_metrics(step=epoch, context={"phase": "test"}, error_rate=error_rate)
        trial.log_image("first_wrong", images[_PICTURES:][wrong][0, 0], step=epoch)
        trial.log_histogram("conv1.weight", model[0].weight, step=epoch)
        print(f"epoch {epoch}: error rate {error_rate:.3f}")
    print("done", file=sys.stderr)
    return model


def main() -> None:
    """Parse the command line, train, and store the model."""
    parser = argparse.ArgumentParser(description="a small CNN on digits")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)

    client = TrackClient(args.uri)
    client.set_project(name="digits")
    trial = client.new_trial(name="cnn", arguments={k: v for k, v in vars(args).items() if k != "uri"})
    trial.capture_output()
    with trial:
        model = train(args, trial)
        torch.save(model.state_dict(), "model.pt")
        trial.log_artifact(Path("model.pt"))
    client.report()


if __name__ == "__main__":
    main()
