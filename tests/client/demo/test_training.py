from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from track.demo.training import Digits


@pytest.fixture(scope="module")
def digits(training: Any) -> Digits:
    found: Digits = training.Digits.load()
    return found


def test_training_lowers_the_loss_and_raises_the_accuracy_on_digits_it_never_saw(
    training: Any, digits: Digits
) -> None:
    model = training.Model(learning_rate=0.003, hidden=32, alpha=1e-4, seed=0)
    logged = [model.learn(images, labels) for images, labels in digits.batches(seed=0)]
    first = np.mean([each["loss"] for each in logged[:10]])
    last = np.mean([each["loss"] for each in logged[-10:]])
    assert last < first / 2
    assert model.validate(digits)["validation_accuracy"] > 0.8


def test_what_is_logged_is_plain_floats(training: Any, digits: Digits) -> None:
    model = training.Model(learning_rate=0.003, hidden=4, alpha=1e-4, seed=0)
    images, labels = next(digits.batches(seed=0))
    logged = {**model.learn(images, labels), **model.validate(digits)}
    assert set(logged) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert {type(value) for value in logged.values()} == {float}


def test_every_epoch_has_full_batches_in_an_order_of_its_own(training: Any, digits: Digits) -> None:
    first, second = (list(digits.batches(seed)) for seed in (0, 1))
    assert {len(labels) for _, labels in first} == {training.BATCH_SIZE}
    assert len(first) == len(digits.train_labels) // training.BATCH_SIZE
    assert any((one[1] != other[1]).any() for one, other in zip(first, second, strict=True))


def test_no_digit_is_in_both_parts(digits: Digits) -> None:
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.validation_images)
