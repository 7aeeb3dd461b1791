"""Gate and specialists as heads on one trunk: the composed logits against plain numpy, and what each head learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fer_hierarchy.models.heads import ComposedLogits, head_widths, with_composed_logits
from fer_hierarchy.models.losses import CrossEntropy

RNG = np.random.default_rng(0)
GROUPS = [[3, 5], [0, 1, 4], [2]]  # six classes; the third group needs no specialist
N, K, HEADS = 7, 6, 3 + 2 + 3
LOGITS = RNG.normal(0, 2, (N, HEADS))
LABELS = np.array([0, 1, 2, 3, 4, 5, 0])
ONE_HOT = np.eye(K)[LABELS]
SOFT = RNG.dirichlet(np.ones(K), N)


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def plain_composed(logits):
    """log P(group|x) + log P(class|group, x), class by class."""
    gate, inside = log_softmax(logits[:, :3]), (log_softmax(logits[:, 3:5]), log_softmax(logits[:, 5:8]))
    return np.stack(
        [
            gate[:, 1] + inside[1][:, 0],
            gate[:, 1] + inside[1][:, 1],
            gate[:, 2],
            gate[:, 0] + inside[0][:, 0],
            gate[:, 1] + inside[1][:, 2],
            gate[:, 0] + inside[0][:, 1],
        ],
        axis=1,
    )


def composed(logits, groups=GROUPS):
    return np.asarray(ComposedLogits(groups, dtype="float64")(tf.constant(logits)))


def test_the_composition_multiplies_along_the_path():
    predicted = composed(LOGITS)
    np.testing.assert_allclose(predicted, plain_composed(LOGITS))
    np.testing.assert_allclose(np.exp(predicted).sum(axis=1), 1)
    assert head_widths(GROUPS) == [3, 2, 3]


@pytest.mark.parametrize("shares", [ONE_HOT, SOFT], ids=["one-hot", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_every_loss_on_logits_is_that_of_the_composed_prediction(shares, smoothing):
    log_p, smoothed = plain_composed(LOGITS), (1 - smoothing) * shares + smoothing / K
    counts = np.arange(1.0, K + 1)
    weighed = np.exp(log_p) * counts
    expected = {
        CrossEntropy(smoothing, dtype="float64"): -(smoothed * log_p),
        CrossEntropy(smoothing, gamma=2.0, dtype="float64"): -(smoothed * (1 - np.exp(log_p)) ** 2 * log_p),
        CrossEntropy(smoothing, class_counts=counts, dtype="float64"): -(
            smoothed * np.log(weighed / weighed.sum(axis=1, keepdims=True))
        ),
    }
    for loss, terms in expected.items():
        assert float(loss(shares, composed(LOGITS))) == pytest.approx(terms.sum(axis=1).mean(), rel=1e-9)


def test_heads_that_a_flat_prediction_implies_cost_what_it_does():
    flat = RNG.normal(0, 2, (N, K))
    p = np.exp(log_softmax(flat))
    gate = np.stack([p[:, group].sum(axis=1) for group in GROUPS], axis=1)
    heads = np.concatenate([np.log(gate), *(flat[:, group] for group in GROUPS if len(group) > 1)], axis=1)
    loss = CrossEntropy(0.1, dtype="float64")
    assert float(loss(SOFT, composed(heads))) == pytest.approx(float(loss(SOFT, flat)), rel=1e-9)


def test_a_face_trains_the_gate_and_the_specialist_of_its_own_group():
    layer, loss = ComposedLogits(GROUPS, dtype="float64"), CrossEntropy(dtype="float64")
    with tf.GradientTape() as tape:
        logits = tf.Variable(LOGITS)
        total = loss(ONE_HOT, layer(logits))
    slopes = np.asarray(tape.gradient(total, logits))
    moved = np.abs(slopes) > 1e-9
    assert moved[:, :3].all()
    for label, row in zip(LABELS, moved, strict=True):
        assert row[3:5].all() == row[3:5].any() == (label in GROUPS[0])
        assert row[5:8].all() == row[5:8].any() == (label in GROUPS[1])


def test_the_composed_network_shares_its_weights_and_survives_saving(tmp_path):
    faces = keras.Input((4,))
    network = keras.Model(faces, keras.layers.Dense(HEADS, name="predictions")(faces))
    composing = with_composed_logits(network, GROUPS)
    x = RNG.normal(0, 1, (5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        composing.predict(x, verbose=0), plain_composed(network.predict(x, verbose=0)), atol=1e-5
    )
    network.get_layer("predictions").set_weights([np.zeros((4, HEADS)), np.zeros(HEADS)])
    composing.save(tmp_path / "composed.keras")
    again = keras.saving.load_model(tmp_path / "composed.keras")
    even = [1 / 9, 1 / 9, 1 / 3, 1 / 6, 1 / 9, 1 / 6]
    np.testing.assert_allclose(np.exp(again.predict(x, verbose=0)), [even] * 5, rtol=1e-5)


@pytest.mark.parametrize("groups", [[[0, 1, 2]], [[0], []], [[0, 1], [1, 2]], [[0], [2]], [[1], [2]]])
def test_what_is_no_grouping_is_refused(groups):
    with pytest.raises(ValueError, match=r"groups are .* right are at least two"):
        ComposedLogits(groups)


def test_logits_of_other_heads_are_refused():
    with pytest.raises(ValueError, match=r"width 7; the heads of groups .* have 8"):
        composed(LOGITS[:, :7])
