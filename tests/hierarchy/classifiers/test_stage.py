"""What every stage shares, whatever trains it: calibration, record, latency; and what Keras's own does."""

from types import SimpleNamespace

import numpy as np
import pytest

from fer_hierarchy.hierarchy.classifiers.stage import single_face_latency, train_batches
from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.models.registry import create_model


def faces(*, generated: int = 0) -> StageFaces:
    """30 faces of one class and 10 of the other, of which the last `generated` are made by a network."""
    labels = np.repeat([0, 1], [30, 10])
    return StageFaces(
        pixels=np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), np.uint8),
        rows=np.arange(40),
        labels=labels,
        targets=np.eye(2, dtype=np.float32)[labels],
        generated=np.arange(40) >= 40 - generated,
    )


def test_latency_is_in_order_and_asks_every_stage_for_one_face():
    shapes = []

    def network(face, training):
        shapes.append((tuple(face.shape), training))
        return face[:, 0, 0, :]

    def other(face, training):
        return network(face, training)

    own = {"a": network, "b": network, "c": other}  # of a and b, which share theirs, it is asked once
    stages = {name: SimpleNamespace(network=made) for name, made in own.items()}
    timed = single_face_latency(KerasStage.blank_prediction(stages, (48, 48, 1)), repeats=3)
    assert 0 < timed["p10"] <= timed["median"] <= timed["p90"]
    assert set(shapes) == {((1, 48, 48, 1), False)}
    assert len(shapes) == 2, "compiled once, not traced again for each face"


@pytest.mark.parametrize(
    ("generated", "levels_prior", "shift"),
    [
        (0, False, None),
        (0, True, np.log([0.75 / 0.5, 0.25 / 0.5])),
        (5, False, np.log([(30 / 35) / 0.75, (5 / 35) / 0.25])),
    ],
)
def test_calibrating_undoes_what_rebalanced_or_generated_faces_do_to_the_prior(generated, levels_prior, shift):
    stage = KerasStage(name="flat", classes=("a", "b"), record={"levels_prior": levels_prior})
    stage.logits = lambda _, rows: np.random.default_rng(1).normal(size=(len(rows), 2))
    stage.calibrate(faces(), faces(generated=generated), temperature=False, prior_correction=True)
    if shift is None:
        assert stage.log_prior_shift is None
    else:
        assert np.ptp(np.array(stage.log_prior_shift) - shift) < 1e-9, "equal but for a constant"
    stage.calibrate(faces(), faces(generated=generated), temperature=False, prior_correction=False)
    assert stage.log_prior_shift is None


def test_augment_off_switches_every_variant_off():
    config = StageConfig(batch_size=40, augment=False, shear=0.2, mixup=0.0)
    batches = train_batches(faces(), config, seed=1)
    shown, _ = batches.batch(0)
    originals = {face.tobytes() for face in faces().pixels}
    assert {face.tobytes() for face in shown} == originals
    changed, _ = train_batches(faces(), StageConfig(batch_size=40), seed=1).batch(0)
    assert not {face.tobytes() for face in changed} <= originals


def test_the_sampler_shows_both_classes_alike():
    batches = train_batches(faces(), StageConfig(batch_size=40, balance="sampler"), seed=1)
    shares = np.mean([batches.batch(step)[1].mean(axis=0) for step in range(20)], axis=0)
    np.testing.assert_allclose(shares, [0.5, 0.5], atol=0.06)


def test_a_pytorch_stage_says_how_to_convert_it(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"trained by PyTorch; python -m fer_hierarchy\.pt_files\.convert"):
        KerasStage.load_network(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "deep_cnn:width=9"}, "no keyword width"),
        ({"model": "hierarchical_cnn"}, "at least 36x36"),
        ({"model": "deep_cnn", "weights": "imagenet"}, "--weights imagenet: .*deep_cnn.*mobilenet"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_face_is_read(settings, message):
    with pytest.raises(UserError, match=message):
        KerasStage.check(StageConfig(**settings), (32, 32, 1))


def test_every_model_has_a_size_of_its_own():
    sizes = {name: KerasStage.native_size(StageConfig(model=name)) for name in ("compact_resnet", "convnet", "vit_b16")}
    assert sizes == {"compact_resnet": 48, "convnet": 100, "vit_b16": 224}


def test_with_its_mirror_image_a_stage_predicts_the_mean_and_survives_saving(tmp_path):
    shown, rows = faces(), np.array([3, 0, 5])
    network = create_model("compact_resnet", input_shape=(16, 16, 1), num_classes=2)
    network.save(tmp_path / "model.keras")
    once = KerasStage(name="flat", classes=("a", "b"), network=network, record={"levels_prior": False})
    expected = (once.outputs(shown.pixels, rows) + once.outputs(shown.pixels[:, :, ::-1], rows)) / 2
    twice = KerasStage(name="flat", classes=("a", "b"), network=network, record={"levels_prior": False})
    twice.use_mirror_image()
    assert twice.outputs(shown.pixels, rows) == pytest.approx(expected, abs=1e-6)
    assert twice.outputs(shown.pixels[:, :, ::-1], rows) == pytest.approx(expected, abs=1e-6), "left is right"
    assert twice.core is network
    assert twice.features(shown.pixels, rows) == pytest.approx(once.features(shown.pixels, rows))
    twice.save(tmp_path)
    loaded = KerasStage.load(tmp_path)
    assert loaded.outputs(shown.pixels, rows) == pytest.approx(expected, abs=1e-6)
    assert [layer.name for layer in loaded.core.layers] == [layer.name for layer in network.layers]
