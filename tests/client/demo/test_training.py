from __future__ import annotations

import numpy as np
import pytest

from track.demo.training import BATCH_SIZE, Digits, Model


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits.load()


def test_training_lowers_the_loss_and_raises_the_accuracy_on_digits_it_never_saw(digits: Digits) -> None:
    model = Model(learning_rate=0.003, hidden=32, alpha=1e-4, seed=0)
    logged = [model.learn(images, labels) for images, labels in digits.batches(seed=0)]
    first = np.mean([each["loss"] for each in logged[:10]])
    last = np.mean([each["loss"] for each in logged[-10:]])
    assert last < first / 2
    assert model.validate(digits)["validation_accuracy"] > 0.8


def test_what_is_logged_is_plain_floats(digits: Digits) -> None:
    model = Model(learning_rate=0.003, hidden=4, alpha=1e-4, seed=0)
    images, labels = next(digits.batches(seed=0))
    logged = {**model.learn(images, labels), **model.validate(digits)}
    assert set(logged) == {"loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert {type(value) for value in logged.values()} == {float}


def test_every_epoch_has_full_batches_in_an_order_of_its_own(digits: Digits) -> None:
    first, second = (list(digits.batches(seed)) for seed in (0, 1))
    assert {len(labels) for _, labels in first} == {BATCH_SIZE}
    assert len(first) == len(digits.train_labels) // BATCH_SIZE
    assert any((one[1] != other[1]).any() for one, other in zip(first, second, strict=True))


def test_no_digit_is_in_both_parts(digits: Digits) -> None:
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.validation_images)
