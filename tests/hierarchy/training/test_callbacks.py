"""How a stage learns: phases, plateaus, penalties, and a resumed training that ends like an uninterrupted one."""

from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from fer_hierarchy.hierarchy.config import StageConfig
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training import callbacks, schedule
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.stages import check_accumulation
from fer_hierarchy.hierarchy.training.transfer import with_fresh_head
from fer_hierarchy.models.registry import create_model
from tests.conftest import draw_face

MODEL = "compact_resnet:stem_width=4:widths=8:blocks=1:strides=2:squeeze_from=none"


def faces(count: int, seed: int) -> StageFaces:
    """`count` faces of each of three classes, told apart by a bright bar, 16 px."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), count)
    pixels = np.stack([draw_face(2 * label, rng)[::3, ::3, None] for label in labels])
    targets = np.eye(3, dtype=np.float32)[labels]
    real = np.zeros(len(labels), bool)
    return StageFaces(pixels=pixels, rows=np.arange(len(labels)), labels=labels, targets=targets, generated=real)


TRAIN, VALIDATION = faces(12, 1), faces(4, 2)


def fit(folder, *, epochs_before_stop=None, monkeypatch=None, part=None, train=None, **settings):
    """Train a stage; `epochs_before_stop` interrupts it as Ctrl-C would, `part` has `until` and `since`."""
    settings = {"model": MODEL, "batch_size": 12, "epochs": 3, "warmup": 0.0, **settings}
    config = StageConfig(**settings)
    stage = KerasStage(name="flat", classes=("a", "b", "c"))
    folder.mkdir(exist_ok=True)
    if epochs_before_stop:
        record = callbacks.EpochEnd.on_epoch_end

        def stopping(self, epoch, logs=None):
            record(self, epoch, logs)
            if epoch + 1 == epochs_before_stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(callbacks.EpochEnd, "on_epoch_end", stopping)
        with pytest.raises(KeyboardInterrupt):
            stage.fit(TRAIN, VALIDATION, config, folder=folder, logs=folder / "logs", seed=3, progress=Progress(1))
        monkeypatch.undo()
    places = {"folder": folder, "logs": folder / "logs"}
    return stage.fit(train or TRAIN, VALIDATION, config, **places, seed=3, progress=Progress(1), **(part or {}))


def checkpoint(folder):
    saved = callbacks.read_checkpoint(folder)
    return [*saved.model, *saved.optimizer]


def test_phases_freeze_first_and_go_on_at_a_lower_rate():
    config = StageConfig(epochs=10, freeze=3, thaw_rate=0.1, learning_rate=0.01, patience=4)
    head, whole = schedule.phases(config)
    assert (head.first, head.last, head.frozen, head.patience) == (0, 3, True, 0)
    assert (whole.first, whole.last, whole.frozen, whole.patience) == (3, 10, False, 4)
    assert (head.rate, whole.rate) == (0.01, pytest.approx(0.001))
    assert [(p.frozen, p.rate) for p in schedule.phases(StageConfig(epochs=4))] == [(False, 1e-3)]
    assert [p.frozen for p in schedule.phases(StageConfig(epochs=4, freeze=9))] == [True]


def test_a_plateau_lowers_the_rate_and_a_better_score_waits_anew():
    config = StageConfig(plateau_factor=0.5, plateau_patience=2)

    def scale(*scores):
        return schedule.plateau_scale([{schedule.MONITOR: score} for score in scores], config)

    assert scale() == scale(0.3) == scale(0.3, 0.2) == 1
    assert scale(0.3, 0.2, 0.3) == 0.5
    assert scale(0.3, 0.2, 0.4, 0.4) == 1
    assert scale(0.3, 0.3, 0.3, 0.3, 0.3) == 0.25


def stepped(slopes, start=(1.0, 2.0), **settings):
    """Two weights after each batch, given its gradients; the optimiser; and the variable."""
    config = StageConfig(weight_decay=0.0, learning_rate=0.1, warmup=0.0, schedule="linear", **settings)
    phase = schedule.Phase(first=0, last=1, frozen=False, rate=0.1, patience=0)
    optimizer = callbacks.build_optimizer(config, phase, steps_per_epoch=len(slopes))
    weight = keras.Variable(start, name="kernel")
    optimizer.build([weight])
    weights = []  # of each batch
    for slope in slopes:
        optimizer.apply([keras.ops.convert_to_tensor(slope, "float32")], [weight])
        weights.append(keras.ops.convert_to_numpy(weight))
    return weights, optimizer, weight


@pytest.mark.parametrize("name", ["sgd", "adamw", "nadam"])
def test_batches_whose_gradients_gather_make_one_update_of_their_mean(name):
    gathered, *_ = stepped([(1.0, 4.0), (3.0, 0.0), (9.0, 9.0)], optimizer=name, accumulate=2)
    at_once, *_ = stepped([(0.0, 0.0), (2.0, 2.0)], optimizer=name)
    np.testing.assert_array_equal(gathered[0], [1, 2])
    assert (gathered[1] < [1, 2]).all()
    np.testing.assert_array_equal(gathered[2], gathered[1])  # the third waits for a fourth
    if name == "sgd":  # the others know how many updates there were
        # A third of the course is left at the second of three batches, a half at the second of two.
        np.testing.assert_allclose(gathered[1] - [1, 2], (at_once[1] - [1, 2]) * (2 / 3) / (1 / 2), rtol=1e-5)


def test_the_schedule_and_the_average_of_the_weights_count_batches():
    slopes = [(1.0, 1.0)] * 8
    _, each, _ = stepped(slopes, optimizer="sgd", ema=0.5)
    gathered, four, weight = stepped(slopes, optimizer="sgd", ema=0.5, accumulate=4)
    assert float(four.learning_rate) == float(each.learning_rate)
    assert four.ema_momentum == each.ema_momentum == 1 - 1 / 4  # a span of half of the eight batches
    average = gathered[3]
    for weights in gathered[4:]:
        average = 0.75 * average + 0.25 * weights
    four.finalize_variable_values([weight])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), average, rtol=1e-6)


def test_gradients_are_scaled_down_together_and_only_where_they_are_too_long():
    def moved(slope, **settings):
        return np.subtract(stepped([slope], optimizer="sgd", **settings)[0][0], (1.0, 2.0))

    np.testing.assert_allclose(moved((30.0, 40.0), clip_norm=5.0), moved((3.0, 4.0)), rtol=1e-5)
    np.testing.assert_allclose(moved((0.3, 0.4), clip_norm=5.0), moved((0.3, 0.4)), rtol=1e-5)
    np.testing.assert_allclose(moved((30.0, 40.0)), 10 * moved((3.0, 4.0)), rtol=1e-5)


def test_a_stage_that_would_never_be_updated_is_refused_also_for_its_frozen_epochs():
    labels, settings = np.zeros(30, int), {"epochs": 3, "batch_size": 10, "accumulate": 4}
    check_accumulation("flat", StageConfig(**settings), labels)  # nine batches
    with pytest.raises(UserError, match="--accumulate 4: stage flat trains 3 batches frozen or thawed, too few"):
        check_accumulation("flat", StageConfig(**settings, freeze=1), labels)


@pytest.mark.parametrize("settings", [{"accumulate": 2}, {"clip_norm": 1.0}])
def test_several_devices_neither_clip_nor_gather(settings, monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    flag = next(iter(settings)).replace("_", "-")
    with pytest.raises(UserError, match=f"--{flag} takes one device, and 2 train; leave it out"):
        stepped([(1.0, 1.0)], **settings)


def test_one_cycle_rises_to_the_peak_and_falls_to_almost_nothing():
    rates = [schedule.rate_at(step, peak=0.5, warmup_steps=7, total_steps=100, kind="one-cycle") for step in range(101)]
    assert rates[0] == pytest.approx(0.5 / 25)
    assert int(np.argmax(rates)) == 30
    assert max(rates) == 0.5
    assert (np.diff(rates[:31]) > 0).all()
    assert (np.diff(rates[30:]) < 0).all()
    assert 0 < rates[100] < 1e-5


def test_the_rate_of_a_plateau_schedule_is_in_the_history(tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.4, 0.6, 0.1])
    monkeypatch.setattr(
        "fer_hierarchy.hierarchy.training.keras_stage.validation_scores",
        lambda *_: {"val_loss": 1.0, "val_accuracy": 0.5, "val_macro_f1": next(scores)},
    )
    fit(tmp_path / "s", epochs=5, schedule="plateau", plateau_patience=1, plateau_factor=0.5, learning_rate=0.01)
    rates = [row["learning_rate"] for row in callbacks.read_checkpoint(tmp_path / "s").history]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.005, 0.0025, 0.0025], rtol=1e-6)


def test_a_frozen_backbone_stays_and_thaws(tmp_path):
    first = fit(tmp_path / "source", epochs=1)
    start = str(tmp_path / "source" / "model.keras")
    frozen = fit(tmp_path / "frozen", weights=start, epochs=1, freeze=1)
    thawed = fit(tmp_path / "thawed", weights=start, epochs=2, freeze=1)
    assert all(layer.trainable for layer in thawed.network.layers)
    for name, same in (("stem", True), ("stem_bn", True), ("predictions", False)):
        weights = [s.network.get_layer(name).get_weights() for s in (first, frozen)]
        assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True)) is same, name
    saved = callbacks.read_checkpoint(tmp_path / "thawed")
    assert len(saved.history) == 2
    assert saved.history[1]["learning_rate"] < saved.history[0]["learning_rate"]
    assert not any(np.array_equal(saved.model[0], value) for value in first.network.get_layer("stem").get_weights())


@pytest.mark.parametrize(
    ("settings", "stop"),
    [
        ({"loss": "island", "mixup": 0.4}, 1),
        pytest.param({"freeze": 2}, 1, marks=pytest.mark.slow),
        ({"freeze": 2}, 2),
        # Three batches an epoch: the first ends between two updates.
        (
            {
                "optimizer": "nadam",
                "accumulate": 2,
                "clip_norm": 0.5,
                "ema": 0.2,
                "schedule": "one-cycle",
                "warmup": 1.0,
            },
            1,
        ),
        pytest.param({"freeze": 1, "schedule": "plateau", "plateau_patience": 1}, 2, marks=pytest.mark.slow),
        pytest.param({"balance": "sampler", "cutmix": 0.5, "loss": "focal"}, 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(settings, stop, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    fit(tmp_path / "whole", **settings)
    keras.utils.set_random_seed(9)
    fit(tmp_path / "parts", epochs_before_stop=stop, monkeypatch=monkeypatch, **settings)
    left, right = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts")
    assert len(left) > 20
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", [pytest.param("center", marks=pytest.mark.slow), "island"])
def test_centres_move_and_stand_in_the_checkpoint_but_not_in_the_model(loss, tmp_path):
    stage = fit(tmp_path / "s", loss=loss, epochs=2)
    centres = [v for v in callbacks.read_checkpoint(tmp_path / "s").model if v.shape == (3, 8)]
    fresh = callbacks.build_trainer(stage.network, StageConfig(loss=loss), 3).penalty.centers
    assert len(centres) == 1
    assert not np.allclose(centres[0], fresh)
    plain = create_model(MODEL, input_shape=(16, 16, 1), num_classes=3)
    assert {layer.name for layer in stage.network.layers} == {layer.name for layer in plain.layers}


def test_the_penalty_joins_the_loss_with_its_weight(tmp_path):
    plain, heavy = (
        fit(tmp_path / str(weight), loss="center", center_weight=weight, epochs=1, learning_rate=1e-9)
        for weight in (0.0, 5.0)
    )
    losses = [callbacks.read_checkpoint(tmp_path / str(w)).history[0]["loss"] for w in (0.0, 5.0)]
    assert losses[1] > losses[0] + 1
    assert plain.record["loss"] == heavy.record["loss"] == "center"


@pytest.mark.parametrize("loss", ["weighted", "balanced-softmax", "focal"])
def test_every_loss_trains_and_says_whether_it_levels_the_prior(loss, tmp_path):
    stage = fit(tmp_path / "s", loss=loss, epochs=1)
    assert stage.record["levels_prior"] is (loss != "focal")
    fewer = {name: getattr(TRAIN, name)[:30] for name in ("rows", "labels", "targets", "generated")}
    stage.calibrate(VALIDATION, replace(TRAIN, **fewer), temperature=True, prior_correction=True)
    assert (stage.log_prior_shift is not None) is (loss != "focal")
    assert stage.features(VALIDATION.pixels, VALIDATION.rows).shape == (12, 8)


def test_weights_of_another_network_are_refused(tmp_path):
    fit(tmp_path / "source", epochs=1)
    start = str(tmp_path / "source" / "model.keras")
    with pytest.raises(UserError, match=r"not the same network \(layer 'stage1_block1_conv1' differs\)"):
        fit(tmp_path / "other", weights=start, model=MODEL.replace("widths=8", "widths=6"))


def test_a_training_goes_on_with_larger_faces():
    trained = create_model(MODEL, input_shape=(16, 16, 1), num_classes=3)
    trained.layers[-1].set_weights([weight + 1 for weight in trained.layers[-1].get_weights()])
    fresh = create_model(MODEL, input_shape=(24, 24, 1), num_classes=2)
    begun = with_fresh_head(trained, fresh, source="small/flat")
    assert begun.input_shape == (None, 24, 24, 1)
    assert begun.output_shape == (None, 2)
    faces = np.random.default_rng(0).uniform(0, 255, (2, 24, 24, 1)).astype("float32")
    fresh.set_weights([*trained.get_weights()[:-2], *fresh.get_weights()[-2:]])
    features = [keras.Model(m.input, m.get_layer("features").output)(faces) for m in (begun, fresh)]
    np.testing.assert_allclose(*features, rtol=1e-6)


def test_where_the_size_of_the_faces_is_in_a_weight_it_must_be_the_same():
    spec = "vit_small_patch:patch=8:dim=8:heads=1:depth=1:mlp_dim=8"
    trained, fresh = (create_model(spec, input_shape=(size, size, 1), num_classes=2) for size in (16, 24))
    with pytest.raises(UserError, match=r"layer '[a-z_0-9]+' differs.*use the same --model, --image-size"):
        with_fresh_head(trained, fresh, source="small/flat")


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    (tmp_path / callbacks.CHECKPOINT).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="damaged or of another model; delete it"):
        callbacks.read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"freeze": 2},
        pytest.param({"schedule": "plateau", "plateau_patience": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_training_in_parts_keeps_the_course_of_the_whole(settings, tmp_path):
    fit(tmp_path / "whole", epochs=4, **settings)
    for until in (1, 3, None):
        paused = fit(tmp_path / "parts", epochs=4, part={"until": until}, **settings)
        assert paused.record["epochs_run"] == (until or 4)
    rates = [
        [row["learning_rate"] for row in callbacks.read_checkpoint(tmp_path / n).history] for n in ("whole", "parts")
    ]
    assert rates[0] == rates[1]
    for one, other in zip(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"), strict=True):
        assert np.array_equal(one, other)


def test_epochs_on_smaller_faces_are_not_chosen(tmp_path, monkeypatch):
    """A network without a fixed size goes on with larger faces; what is saved then takes those."""
    scores = iter([0.9, 0.8, 0.1, 0.2])
    monkeypatch.setattr(
        "fer_hierarchy.hierarchy.training.keras_stage.validation_scores",
        lambda *_: {"val_loss": 1.0, "val_accuracy": 0.5, "val_macro_f1": next(scores)},
    )
    settings = {"epochs": 4, "patience": 2}
    fit(tmp_path / "s", part={"until": 2}, **settings)
    large = replace(TRAIN, pixels=np.repeat(np.repeat(TRAIN.pixels, 2, axis=1), 2, axis=2))
    grown = fit(tmp_path / "s", part={"since": 2}, train=large, **settings)
    assert grown.record["best_epoch"] == 4
    assert grown.network.input_shape[1] == 2 * TRAIN.pixels.shape[1]


def test_a_step_is_traced_once(tmp_path, monkeypatch):
    """Tracing takes seconds, of which short trainings, as in a search, mostly consist."""
    traced, step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda self, data: traced.append(1) or step(self, data))
    for loss in ("ce", "island"):
        traced.clear()
        fit(tmp_path / loss, epochs=1, loss=loss)
        assert len(traced) == 1
