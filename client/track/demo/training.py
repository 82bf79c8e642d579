"""The demo's training: a small neural network on scikit-learn's bundled digits, mini-batch by mini-batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

__all__ = ["BATCH_SIZE", "Digits", "Model"]

BATCH_SIZE: Final = 16

_VALIDATION_SHARE: Final = 0.2
_CLASSES: Final = np.arange(10)
_BRIGHTEST: Final = 16.0
_MIN_PROBABILITY: Final = 1e-12


@dataclass(frozen=True)
class Digits:
    """1,797 handwritten digits of 8 × 8 pixels, shuffled and split.

    Attributes:
        train_images: float64, shape (samples, 64), 0 to 1.
        train_labels: int64, shape (samples,), 0 to 9.
        validation_images: the held-out fifth, likewise.
        validation_labels: likewise.
    """

    train_images: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.float64]
    validation_labels: NDArray[np.int64]

    @staticmethod
    def load() -> Digits:
        """The same split in every process."""
        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        images, labels = images[order] / _BRIGHTEST, labels[order]
        held_out = int(len(labels) * _VALIDATION_SHARE)
        return Digits(images[held_out:], labels[held_out:], images[:held_out], labels[:held_out])

    def batches(self, seed: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
        """One epoch of full mini-batches, in an order of its own for each seed."""
        order = np.random.default_rng(seed).permutation(len(self.train_labels))
        for end in range(BATCH_SIZE, len(order) + 1, BATCH_SIZE):
            chosen = order[end - BATCH_SIZE : end]
            yield self.train_images[chosen], self.train_labels[chosen]


class Model:
    """A network of one hidden layer, trained with Adam.

    Args:
        learning_rate: step size at the start.
        hidden: units of the hidden layer.
        alpha: strength of the L2 penalty.
        seed: of the initial weights.
    """

    def __init__(self, learning_rate: float, hidden: int, alpha: float, seed: int) -> None:
        self._network = MLPClassifier(
            (hidden,), learning_rate_init=learning_rate, alpha=alpha, random_state=seed
        )

    def learn(self, images: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
        """Take one step; the batch's loss before it and accuracy after it."""
        self._network.partial_fit(images, labels, classes=_CLASSES)
        return {
            "loss": float(self._network.loss_),
            "accuracy": float(np.mean(self._network.predict(images) == labels)),
        }

    def validate(self, digits: Digits) -> dict[str, float]:
        """Mean cross-entropy and accuracy on the held-out digits."""
        probabilities = self._network.predict_proba(digits.validation_images)
        labels = digits.validation_labels
        of_truth = probabilities[np.arange(len(labels)), labels]
        return {
            "validation_loss": float(-np.mean(np.log(np.maximum(of_truth, _MIN_PROBABILITY)))),
            "validation_accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        }
