"""That the models learn from the first epochs on, on pictures that need their spatial filters."""

import keras
import numpy as np
import pytest

from fer_hierarchy.models.registry import create_model


def curved_lines(count: int, size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures of a short curve bent up or down: (count, size, size, 1) float32, and one-hot labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    rows, columns = np.mgrid[:size, :size]
    pictures = np.empty((count, size, size, 1), np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        bend = 1 if label else -1
        x, y = rng.uniform(8, size - 8, 2)
        distance = rows - y - bend * (columns - x) ** 2 / 8 + 2 * bend
        line = rng.uniform(40, 90) * np.exp(-(distance**2) / 2) * (abs(columns - x) < 5)
        picture[..., 0] = np.clip(rng.uniform(80, 170) + rng.normal(0, 12, (size, size)) + line, 0, 255)
    return pictures, np.eye(2, dtype=np.float32)[labels]


@pytest.mark.slow
def test_the_default_model_learns_within_four_short_epochs():
    """Blocks that begin as their shortcuts, for example, would leave it near chance for many epochs."""
    pictures, labels = curved_lines(512)
    keras.utils.set_random_seed(0)
    model = create_model("compact_resnet", input_shape=pictures.shape[1:], num_classes=2)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    history = model.fit(pictures, labels, batch_size=64, epochs=4, verbose=0).history
    assert history["accuracy"][-1] > 0.9
