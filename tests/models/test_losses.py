"""Losses and penalties against plain numpy, their gradients against finite differences, and centres that are state."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from fer_hierarchy.models import losses
from fer_hierarchy.models.losses import CenterLoss, CrossEntropy
from tests.conftest import CHECKOUT

RNG = np.random.default_rng(0)
N, K, D = 6, 4, 3
LOGITS = RNG.normal(0, 2, (N, K))
LABELS = RNG.integers(0, K, N)
LABELS[:2] = 2  # one class twice, and one that the batch lacks
LABELS[LABELS == 3] = 1
ONE_HOT = np.eye(K)[LABELS]
SOFT = RNG.dirichlet(np.ones(K), N)
FEATURES = RNG.normal(0, 1, (N, D))
CENTERS = RNG.normal(0, 1, (K, D))
COUNTS = [40.0, 7.0, 25.0, 3.0]
WEIGHTS = [0.5, 2.0, 1.0, 4.0]


def log_softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def plain_cross_entropy(shares, logits):
    return -(shares * log_softmax(logits)).sum(axis=1)


def plain_focal(shares, logits, gamma=2.0):
    log_p = log_softmax(logits)
    return -(shares * (1 - np.exp(log_p)) ** gamma * log_p).sum(axis=1)


def plain_balanced(shares, logits):
    weighed = np.array(COUNTS) * np.exp(logits)
    return -(shares * np.log(weighed / weighed.sum(axis=1, keepdims=True))).sum(axis=1)


def plain_center(features, shares, centers):
    total = 0.0
    for x, y in zip(features, shares, strict=True):
        total += sum(y[j] * ((x - centers[j]) ** 2).sum() / 2 for j in range(len(centers)))
    return total / len(features)


def plain_island(centers):
    lengths = np.sqrt((centers**2).sum(axis=1))
    pairs = [(j, k) for j in range(len(centers)) for k in range(len(centers)) if j != k]
    return sum(centers[j] @ centers[k] / (lengths[j] * lengths[k]) + 1 for j, k in pairs)


def paper_step(features, shares, centers, island_weight=0.0):
    """The update of Wen et al. (2016) and Cai et al. (2018), letter by letter."""
    steps = np.zeros_like(centers)
    for j, c in enumerate(centers):
        steps[j] = sum(y[j] * (c - x) for x, y in zip(features, shares, strict=True)) / (1 + shares[:, j].sum())
        for k, other in enumerate(centers):
            if k != j:
                a, b = np.sqrt(other @ other), np.sqrt(c @ c)
                steps[j] += island_weight / (len(centers) - 1) * (other / (a * b) - (other @ c) * c / (a * b**3))
    return steps


def slopes(function, values, step=1e-5):
    """Central differences of a scalar function of a float64 array."""
    result = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        moved = np.zeros_like(values)
        moved[place] = step
        result[place] = (function(values + moved) - function(values - moved)) / (2 * step)
    return result


def gradient(function, values):
    with tf.GradientTape() as tape:
        variable = tf.Variable(values)
        result = function(variable)
    return np.asarray(tape.gradient(result, variable))


CASES = {
    "cross-entropy": ({}, plain_cross_entropy),
    "focal": ({"gamma": 2.0}, plain_focal),
    "focal, gamma 0.5": ({"gamma": 0.5}, lambda y, z: plain_focal(y, z, 0.5)),
    "balanced softmax": ({"class_counts": COUNTS}, plain_balanced),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    settings, plain = CASES[request.param]
    return lambda **more: CrossEntropy(**settings, **more, dtype="float64"), plain


@pytest.mark.parametrize("shares", [ONE_HOT, SOFT], ids=["one-hot", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_value_and_slope_are_those_of_the_formula(case, shares, smoothing, weights):
    build, plain = case
    loss = build(label_smoothing=smoothing, class_weights=weights)
    of_face = np.ones(N) if weights is None else shares @ np.array(weights)

    def expected(logits):
        return (of_face * plain((1 - smoothing) * shares + smoothing / K, logits)).mean()

    assert float(loss(shares, LOGITS)) == pytest.approx(expected(LOGITS), rel=1e-9)
    np.testing.assert_allclose(gradient(lambda z: loss(shares, z), LOGITS), slopes(expected, LOGITS), atol=1e-8)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], LABELS.astype("int32")], ids=["flat", "column", "int32"])
def test_class_indices_give_the_same_as_one_hot(case, labels):
    build, _ = case
    loss = build(label_smoothing=0.1, class_weights=WEIGHTS)
    assert float(loss(labels, LOGITS)) == pytest.approx(float(loss(ONE_HOT, LOGITS)), rel=1e-12)


def test_losses_meet_where_they_should():
    plain = float(CrossEntropy(0.1)(SOFT, LOGITS))
    assert float(CrossEntropy(0.1, gamma=0.0)(SOFT, LOGITS)) == pytest.approx(plain, rel=1e-5)
    assert float(CrossEntropy(0.1, class_counts=[5] * K)(SOFT, LOGITS)) == pytest.approx(plain, rel=1e-5)
    assert float(CrossEntropy(0.1, [1] * K)(SOFT, LOGITS)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("size", [40.0, 1000.0])
def test_certain_predictions_leave_value_and_slope_finite(case, size):
    build, _ = case
    logits = np.where(ONE_HOT > 0, size, -size).astype("float32")
    for sign in (1, -1):
        assert np.isfinite(float(build()(ONE_HOT, sign * logits)))
        assert np.isfinite(gradient(lambda z: build()(ONE_HOT, z), sign * logits)).all()


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(0.1, WEIGHTS),
        CrossEntropy(0.1, np.array(WEIGHTS), gamma=1.5),
        CrossEntropy(0.05, class_counts=np.array(COUNTS)),
    ],
    ids=["weighted", "focal", "balanced softmax"],
)
def test_losses_survive_serialisation(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    assert float(again(SOFT, LOGITS)) == float(loss(SOFT, LOGITS))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CrossEntropy(1.0), "label_smoothing is 1.0; right is"),
        (lambda: CrossEntropy(0.0, [1, -1]), "class_weights are .* right are"),
        (lambda: CrossEntropy(0.0, [1, 2])(ONE_HOT, LOGITS), "class_weights are 2 numbers for logits of 4 classes"),
        (lambda: CrossEntropy()(np.ones((N, 3)), LOGITS), r"targets of shape \(6, 3\); right is"),
        (lambda: CrossEntropy(gamma=-1), "gamma is -1; right is"),
        (lambda: CrossEntropy(class_counts=[3, 0]), "class_counts are .* above 0"),
        (lambda: CrossEntropy(class_counts=[3, float("nan")]), "class_counts are .* right are"),
        (lambda: CenterLoss(0), "num_classes is 0; right is at least 1"),
        (lambda: CenterLoss(1, island_weight=1.0), "num_classes is 1; right is at least 2"),
        (lambda: CenterLoss(3, rate=0), "rate is 0; right is"),
        (lambda: CenterLoss(3, island_weight=-1), "island_weight is -1; right is"),
    ],
)
def test_unusable_settings_name_themselves_in_one_line(build, words):
    with pytest.raises(ValueError, match=words) as raised:
        build()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shares", [ONE_HOT, SOFT], ids=["one-hot", "soft"])
def test_center_penalty_value_and_slopes(shares):
    def penalty(features, centers):
        return losses.center_penalty(*map(tf.convert_to_tensor, (features, shares, centers)))

    assert float(penalty(FEATURES, CENTERS)) == pytest.approx(plain_center(FEATURES, shares, CENTERS))
    by_features = gradient(lambda x: penalty(x, CENTERS), FEATURES)
    by_centers = gradient(lambda c: penalty(FEATURES, c), CENTERS)
    np.testing.assert_allclose(by_features, slopes(lambda x: plain_center(x, shares, CENTERS), FEATURES), atol=1e-8)
    np.testing.assert_allclose(by_centers, slopes(lambda c: plain_center(FEATURES, shares, c), CENTERS), atol=1e-8)


def test_island_penalty_value_and_slope():
    assert float(losses.island_penalty(tf.constant(CENTERS))) == pytest.approx(plain_island(CENTERS))
    np.testing.assert_allclose(gradient(losses.island_penalty, CENTERS), slopes(plain_island, CENTERS), atol=1e-8)
    opposite = tf.constant([[1.0, 0.0], [-3.0, 0.0]])
    assert float(losses.island_penalty(opposite)) == pytest.approx(0, abs=1e-6), "two opposite centres are islands"


@pytest.mark.parametrize("shares", [ONE_HOT, SOFT], ids=["one-hot", "soft"])
def test_the_centres_step_is_the_papers_and_follows_the_slope(shares):
    step = np.asarray(losses.center_step(*map(tf.constant, (FEATURES, shares, CENTERS))))
    np.testing.assert_allclose(step, paper_step(FEATURES, shares, CENTERS))
    slope_of_sum = N * slopes(lambda c: plain_center(FEATURES, shares, c), CENTERS)
    np.testing.assert_allclose(step * (1 + shares.sum(axis=0))[:, None], slope_of_sum, atol=1e-7)


def test_the_islands_step_is_the_papers_and_follows_the_slope():
    step = np.asarray(losses.island_step(tf.constant(CENTERS)))
    nothing = np.zeros((0, D)), np.zeros((0, K))
    np.testing.assert_allclose(step, paper_step(*nothing, CENTERS, island_weight=1.0))
    np.testing.assert_allclose(2 * (K - 1) * step, slopes(plain_island, CENTERS), atol=1e-8)


LAYERS = {
    "center": (lambda **more: CenterLoss(K, rate=0.3, **more), 0.0),
    "island": (lambda **more: CenterLoss(K, rate=0.3, island_weight=2.0, **more), 2.0),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("targets", [SOFT, ONE_HOT, LABELS], ids=["soft", "one-hot", "indices"])
def test_training_moves_the_centres_by_the_papers_rule_and_predicting_does_not(name, targets):
    build, island_weight = LAYERS[name]
    layer = build(dtype="float64")
    shares = ONE_HOT if targets is LABELS else targets
    layer.build([FEATURES.shape, shares.shape])
    before = layer.centers.numpy().copy()
    expected = plain_center(FEATURES, shares, before) + island_weight * plain_island(before)
    assert float(layer((FEATURES, targets))) == pytest.approx(expected)
    np.testing.assert_array_equal(layer.centers, before)
    assert float(layer((FEATURES, targets), training=True)) == pytest.approx(expected), "measured before the move"
    moved = before - 0.3 * paper_step(FEATURES, shares, before, island_weight)
    np.testing.assert_allclose(layer.centers, moved)
    assert layer.trainable_variables == []


def test_centres_find_the_means_of_their_classes_and_islands_part():
    close = np.array([[1.0, 0.2], [1.0, -0.2]])
    targets = np.tile([0, 1], 32)
    features = (close[targets] + np.random.default_rng(1).normal(0, 0.05, (64, 2))).astype("float32")
    center, island = CenterLoss(2), CenterLoss(2, island_weight=0.5)
    for _ in range(40):
        center((features, targets), training=True)
        island((features, targets), training=True)
    np.testing.assert_allclose(center.centers, close, atol=0.05)
    apart = [float(losses.island_penalty(layer.centers.value)) for layer in (center, island)]
    assert apart[1] < apart[0] - 0.05


def test_the_seed_decides_the_first_centres():
    first, again, other = (CenterLoss(3, seed=seed) for seed in (1, 1, 2))
    for layer in (first, again, other):
        layer.build([(None, 400), (None, 3)])
    np.testing.assert_array_equal(first.centers, again.centers)
    assert np.abs(first.centers.numpy() - other.centers.numpy()).max() > 0.1
    assert np.std(first.centers) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", LAYERS)
def test_centres_are_saved_and_restored_with_a_model(name, tmp_path):
    faces, targets = keras.Input((5,), name="faces"), keras.Input((K,), name="targets")
    features = keras.layers.Dense(D, name="features")(faces)
    model = keras.Model([faces, targets], LAYERS[name][0](name="pull")((features, targets)))
    batch = [RNG.normal(0, 1, (N, 5)).astype("float32"), ONE_HOT.astype("float32")]
    for _ in range(3):
        model(batch, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.get_layer("pull").centers, model.get_layer("pull").centers)
    for each in (model, again):
        each(batch, training=True)
    np.testing.assert_array_equal(again.get_layer("pull").centers, model.get_layer("pull").centers)
    assert float(again(batch)) == float(model(batch))


def test_a_traced_training_step_moves_the_centres_too():
    layer = CenterLoss(K)
    layer.build([FEATURES.shape, ONE_HOT.shape])
    before = layer.centers.numpy().copy()
    features, targets = tf.constant(FEATURES, tf.float32), tf.constant(ONE_HOT, tf.float32)
    tf.function(lambda: layer((features, targets), training=True))()
    np.testing.assert_allclose(layer.centers, before - 0.5 * paper_step(FEATURES, ONE_HOT, before), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_losses_and_centres_work_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    script = (
        "import numpy as np; from keras import ops; from fer_hierarchy.models import losses as l\n"
        "z = ops.array([[1.0, -2.0, 0.5]]); y = ops.array([2]); c = ops.eye(3)\n"
        "layer = l.CenterLoss(3, island_weight=2.0); layer.build([(1, 3), (1, 3)]); layer.centers.assign(c)\n"
        "values = [l.CrossEntropy(0.1)(y, z), l.CrossEntropy(gamma=2.0)(y, z)]\n"
        "values += [l.CrossEntropy(class_counts=[1, 2, 3])(y, z)]\n"
        "values += [layer((z, y), training=True), *ops.reshape(layer.centers, (-1,))]\n"
        "print(*(float(ops.convert_to_numpy(value)) for value in values))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"KERAS_BACKEND": backend},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logits, shares, centers = np.array([[1.0, -2.0, 0.5]]), np.eye(3)[[2]], np.eye(3)
    expected = [plain_cross_entropy(0.9 * shares + 0.1 / 3, logits), plain_focal(shares, logits)]
    expected += [-log_softmax(logits + np.log([1, 2, 3]))[:, 2]]
    expected += [[plain_center(logits, shares, centers) + 2 * plain_island(centers)]]
    moved = centers - 0.5 * paper_step(logits, shares, centers, island_weight=2.0)
    np.testing.assert_allclose(
        np.array(done.stdout.split(), float), np.concatenate([*expected, moved.ravel()]), rtol=1e-5
    )
