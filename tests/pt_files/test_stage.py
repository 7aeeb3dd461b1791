"""A stage that PyTorch trains: the same course as with Keras, resumable, and plain about what it cannot do."""

import csv
import json

import pytest

pytest.importorskip("torch")

import keras
import numpy as np
import torch

from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import StageFaces
from fer_hierarchy.hierarchy.errors import NoRoomError, UserError
from fer_hierarchy.hierarchy.progress import Progress
from fer_hierarchy.hierarchy.training import callbacks as keras_training
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.schedule import Phase, rate_at
from fer_hierarchy.models.cost import multiply_adds as keras_multiply_adds
from fer_hierarchy.models.registry import create_model as create_keras_model
from fer_hierarchy.pt_files.convert import state_dict_from_keras, to_torch
from fer_hierarchy.pt_files.losses import build_loss
from fer_hierarchy.pt_files.optimizers import average_and_clip, build_optimizer
from fer_hierarchy.pt_files.registry import create_model
from fer_hierarchy.pt_files.stage import MODEL, TorchStage, build_model, chosen_device
from fer_hierarchy.pt_files.training import CHECKPOINT, Training
from tests.conftest import TINY, draw_face

SHAPE = (16, 16, 1)
SMALL = "compact_resnet:widths=8+8:blocks=1+1:strides=1+2:squeeze_from=2"
CLASSES = ("a", "b", "c")


def faces(count: int, seed: int) -> StageFaces:
    """`count` faces of each of three classes, separated by a bright bar, 16 px."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), count)
    pixels = np.stack([draw_face(2 * label, rng)[::3, ::3, None] for label in labels])
    targets = np.eye(3, dtype=np.float32)[labels]
    real = np.zeros(len(labels), bool)
    return StageFaces(pixels=pixels, rows=np.arange(len(labels)), labels=labels, targets=targets, generated=real)


TRAIN, VALIDATION = faces(12, 1), faces(4, 2)


def config_of(**settings) -> StageConfig:
    return StageConfig(**{"model": SMALL, "batch_size": 12, "epochs": 3, **settings})


def fit(folder, *, stage_type=TorchStage, progress=None, part=None, **settings):
    folder.mkdir(exist_ok=True)
    return stage_type(name="flat", classes=CLASSES).fit(
        TRAIN,
        VALIDATION,
        config_of(**settings),
        folder=folder,
        logs=folder / "logs",
        seed=3,
        progress=progress or Progress(1),
        **(part or {}),
    )


def history(folder) -> list[dict[str, float]]:
    with (folder / "history.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "learning_rate": 0.02, "loss": "focal"},
        {"optimizer": "adamw", "balance": "class-weight", "schedule": "linear", "weight_decay": 0.1},
        {"optimizer": "nadam", "clip_norm": 0.5, "accumulate": 2, "schedule": "one-cycle"},
    ],
    ids=["sgd", "adamw", "nadam"],
)
def test_both_frameworks_take_the_same_steps(settings, tmp_path, monkeypatch):
    """From equal weights, without dropout: the same losses, scores and rates epoch by epoch, and the same weights."""
    spec = TINY + ":dropout=0.0"
    keras_model = create_keras_model(spec, input_shape=SHAPE, num_classes=3)
    torch_model = create_model(spec, input_shape=SHAPE, num_classes=3)
    to_torch(keras_model, torch_model)
    monkeypatch.setattr("fer_hierarchy.hierarchy.training.keras_stage.build_model", lambda *_, **__: keras_model)
    monkeypatch.setattr("fer_hierarchy.pt_files.stage.build_model", lambda *_: torch_model)
    theirs = fit(tmp_path / "keras", stage_type=KerasStage, model=spec, **settings)
    ours = fit(tmp_path / "torch", model=spec, **settings)
    assert history(tmp_path / "keras")[0].keys() == history(tmp_path / "torch")[0].keys()
    for a, b in zip(history(tmp_path / "keras"), history(tmp_path / "torch"), strict=True):
        for name in a.keys() - {"seconds", "cpu_seconds"}:
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name
    for name, value in state_dict_from_keras(keras_model, torch_model).items():
        np.testing.assert_allclose(torch_model.state_dict()[name], value, rtol=1e-4, atol=1e-4, err_msg=name)
    times = {"cpu_seconds", "wall_seconds"}
    assert {k: v for k, v in ours.record.items() if k not in times} == {
        k: v for k, v in theirs.record.items() if k not in times
    }


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "plateau", "one-cycle"])
def test_the_rate_is_that_of_the_keras_schedule(kind):
    course = {"peak": 0.3, "warmup_steps": 4, "total_steps": 20, "kind": kind}
    schedule = keras_training.WarmupDecay(**course)
    schedule.scale.assign(0.25)
    for step in (0, 3, 4, 11, 19, 20, 25):
        assert rate_at(step, **course, scale=0.25) == pytest.approx(float(schedule(step)), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"optimizer": "adamw"},
        {"optimizer": "nadam"},
        {"optimizer": "sgd", "clip_norm": 0.1},
        {"optimizer": "nadam", "clip_norm": 0.1, "accumulate": 3},
    ],
    ids=str,
)
def test_an_optimiser_steps_as_its_namesake_while_the_rate_changes(settings):
    config = config_of(**settings, weight_decay=0.2, learning_rate=0.05, warmup=1.0)
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 2)).astype("float32"), rng.normal(size=2).astype("float32")
    ours = torch.nn.ParameterList([torch.tensor(kernel), torch.tensor(bias)])
    theirs = [keras.Variable(kernel, name="kernel"), keras.Variable(bias, name="bias")]
    stepper = build_optimizer(ours, config)
    phase = Phase(first=0, last=3, frozen=False, rate=0.05, patience=0)
    keras_stepper = keras_training.build_optimizer(config, phase, steps_per_epoch=3)
    for step in range(9):
        slopes = [rng.normal(size=v.shape).astype("float32") * 10.0 ** -(step % 4 * 3) for v in theirs]
        for group in stepper.param_groups:
            group["lr"] = float(keras_stepper.learning_rate)
        for weight, slope in zip(ours, slopes, strict=True):
            weight.grad = torch.tensor(slope) + (0 if weight.grad is None else weight.grad)
        if (step + 1) % config.accumulate == 0:
            average_and_clip(ours, count=config.accumulate, clip_norm=config.clip_norm)
            stepper.step()
            stepper.zero_grad()
        keras_stepper.apply([keras.ops.convert_to_tensor(slope) for slope in slopes], theirs)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.detach(), np.asarray(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"loss": "weighted"}, {"loss": "focal"}, {"loss": "focal", "balance": "class-weight"}], ids=str
)
def test_a_loss_is_that_of_keras_and_so_is_its_slope(settings):
    config = config_of(label_smoothing=0.2, focal_gamma=1.5, **settings)
    labels = np.array([0, 0, 0, 1, 2, 2])
    rng = np.random.default_rng(5)
    logits = (4 * rng.normal(size=(6, 3))).astype("float32")
    targets = rng.dirichlet(np.ones(3), size=6).astype("float32")
    ours = torch.tensor(logits, requires_grad=True)
    loss = build_loss(config, labels, 3)(ours, torch.tensor(targets))
    loss.backward()
    expected = keras_training.build_loss(config, labels, 3)
    assert loss.item() == pytest.approx(float(expected(targets, logits)), rel=1e-5)
    nudge = np.zeros_like(logits)
    nudge[3, 1] = 1e-2
    slope = (float(expected(targets, logits + nudge)) - float(expected(targets, logits - nudge))) / 2e-2
    assert ours.grad[3, 1].item() == pytest.approx(slope, rel=1e-2, abs=1e-4)


def stop_after(monkeypatch, epochs: int) -> None:
    """Interrupt training as Ctrl-C would, once the checkpoint of that epoch is written."""
    save = Training.save

    def stopping(self, folder):
        save(self, folder)
        if len(self.history) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "save", stopping)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd"},
        {"schedule": "plateau", "plateau_patience": 1, "balance": "sampler"},
        {"optimizer": "nadam", "accumulate": 2, "schedule": "one-cycle"},  # three batches an epoch
    ],
    ids=["sgd", "adamw on plateaus", "between two updates"],
)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(settings, tmp_path, monkeypatch):
    settings = {"model": SMALL + ":dropout=0.5", **settings}
    fit(tmp_path / "whole", **settings)
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts", **settings)
    monkeypatch.undo()
    torch.rand(7)  # dropout must go on from the checkpoint's random state, not from this one
    progress = Progress(1)
    fit(tmp_path / "parts", progress=progress, **settings)
    for file, part in ((CHECKPOINT, "network"), (MODEL, "state_dict")):
        left, right = (torch.load(tmp_path / half / file, weights_only=True)[part] for half in ("whole", "parts"))
        assert len(left) > 20
        for name, value in left.items():
            assert torch.equal(value, right[name]), name
    timed = {"seconds", "cpu_seconds"}
    assert [{k: v for k, v in row.items() if k not in timed} for row in history(tmp_path / "whole")] == [
        {k: v for k, v in row.items() if k not in timed} for row in history(tmp_path / "parts")
    ]
    assert progress.done == TorchStage.planned_work(config_of(**settings), SHAPE, 3, TRAIN.labels)


def test_a_checkpoint_from_before_gradients_stood_in_it_goes_on(tmp_path, monkeypatch):
    fit(tmp_path / "whole")
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "parts")
    monkeypatch.undo()
    checkpoint = tmp_path / "parts" / CHECKPOINT
    state = torch.load(checkpoint, weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "gradients"}, checkpoint)
    fit(tmp_path / "parts")
    left, right = (torch.load(tmp_path / half / MODEL, weights_only=True)["state_dict"] for half in ("whole", "parts"))
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_training_learns_keeps_the_best_epoch_and_loads_to_the_same_predictions(tmp_path, monkeypatch):
    scores = iter([0.5, 0.9, 0.4])
    monkeypatch.setattr(
        "fer_hierarchy.pt_files.stage.validation_scores",
        lambda *_: {"val_loss": 1.0, "val_accuracy": 0.5, "val_macro_f1": next(scores)},
    )
    stage = fit(tmp_path / "s", augment=False, label_smoothing=0.0)
    rows = history(tmp_path / "s")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert stage.record["best_epoch"] == 2
    last = torch.load(tmp_path / "s" / CHECKPOINT, weights_only=True)["network"]
    assert not torch.equal(stage.network.state_dict()["layers.predictions.weight"], last["layers.predictions.weight"])
    stage.calibrate(VALIDATION, TRAIN, temperature=True, prior_correction=True)
    stage.save(tmp_path / "s")
    again = TorchStage.load(tmp_path / "s")
    requested = VALIDATION.pixels, VALIDATION.rows[::-1]
    np.testing.assert_array_equal(again.predict_proba(*requested), stage.predict_proba(*requested))
    np.testing.assert_allclose(again.predict_proba(*requested).sum(axis=1), 1)
    assert again.features(*requested).shape == (12, 8)
    TorchStage.blank_prediction({"flat": again}, SHAPE)()


def test_mixed_precision_trains_otherwise_and_leaves_a_float32_network(tmp_path):
    full, mixed = fit(tmp_path / "full"), fit(tmp_path / "mixed", precision="mixed_bfloat16")
    assert {weight.dtype for weight in mixed.network.parameters()} == {torch.float32}
    losses = [[row["loss"] for row in history(tmp_path / name)] for name in ("full", "mixed")]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)
    rows = np.arange(6)
    assert mixed.outputs(TRAIN.pixels, rows).dtype == np.float32
    assert not np.array_equal(mixed.outputs(TRAIN.pixels, rows), full.outputs(TRAIN.pixels, rows))


def test_early_stopping_and_plateaus_follow_the_validation_score(tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.4, 0.6, 0.1, 0.1, 0.1])
    monkeypatch.setattr(
        "fer_hierarchy.pt_files.stage.validation_scores",
        lambda *_: {"val_loss": 1.0, "val_accuracy": 0.5, "val_macro_f1": next(scores)},
    )
    plateau = {"schedule": "plateau", "plateau_patience": 1, "plateau_factor": 0.5, "warmup": 0.0}
    fit(tmp_path / "s", epochs=9, patience=3, learning_rate=0.01, **plateau)
    rates = [row["learning_rate"] for row in history(tmp_path / "s")]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.005, 0.0025, 0.0025, 0.00125, 0.000625])


@pytest.mark.parametrize("spec", ["compact_resnet", "deep_cnn"])
def test_the_cost_is_that_of_the_keras_model(spec):
    config = config_of(model=spec, epochs=2)
    planned = TorchStage.planned_work(config, (48, 48, 1), 7, np.zeros(50, int))
    assert planned == keras_multiply_adds(create_keras_model(spec, input_shape=(48, 48, 1), num_classes=7)) * 48 * 2
    assert TorchStage.native_size(config) == KerasStage.native_size(config) == 48


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "island"}, "--loss island: PyTorch trains with ce, weighted, focal"),
        ({"mixup": 0.2}, "--mixup 0.2: PyTorch trains without"),
        ({"ema": 0.1}, "--ema 0.1: PyTorch trains without"),
        ({"precision": "mixed_float16"}, "--precision mixed_float16: PyTorch trains in float32 or mixed_bfloat16"),
        ({"freeze": 2}, "--freeze 2: PyTorch trains without"),
        ({"weights": "imagenet"}, "--weights imagenet: PyTorch trains without"),
        ({"model": "mini_xception"}, "no PyTorch twin of model 'mini_xception'"),
        ({"model": "compact_resnet:depth=3"}, "compact_resnet has no keyword depth"),
        ({"model": "hierarchical_cnn"}, "at least 36x36 pixels"),
    ],
)
def test_what_pytorch_cannot_do_is_refused_before_any_data_is_read(settings, words):
    with pytest.raises(UserError, match=words) as raised:
        TorchStage.check(config_of(**settings), SHAPE)
    assert "\n" not in str(raised.value)


def test_an_unknown_model_has_no_size_of_its_own():
    with pytest.raises(UserError, match="--model: no PyTorch twin of model 'resnet81'; did you mean 'resnet18'"):
        TorchStage.native_size(config_of(model="resnet81"))


def test_a_loss_that_is_no_number_names_what_to_change(tmp_path):
    with pytest.raises(UserError, match=r"flat: the loss became .* in epoch 1; .* lower --learning-rate \(here 1e\+30"):
        fit(tmp_path / "s", optimizer="sgd", learning_rate=1e30, warmup=0.0)


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="damaged or of another model; delete it, then --resume") as raised:
        fit(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_stage_that_keras_trained_names_the_way_to_convert_it(tmp_path):
    with pytest.raises(UserError, match="is missing; delete the folder"):
        TorchStage.load_network(tmp_path)
    (tmp_path / "model.keras").touch()
    with pytest.raises(UserError, match=r"was trained by Keras; python -m fer_hierarchy.pt_files.convert"):
        TorchStage.load_network(tmp_path)


def test_a_lack_of_memory_is_separated_from_a_defect(tmp_path, monkeypatch):
    def allocate(self, advance):
        torch.empty(10**15)

    monkeypatch.setattr(Training, "epoch", allocate)
    with pytest.raises(NoRoomError, match="can't allocate memory"):
        fit(tmp_path)


def test_kernels_repeat_only_where_the_run_wants_it():
    for wanted in (False, True):
        TorchStage.prepare(RunConfig(deterministic=wanted))
        assert torch.are_deterministic_algorithms_enabled() is wanted


def test_the_model_file_holds_what_it_takes_to_build_it_again(tmp_path):
    fit(tmp_path / "s", epochs=1)
    record = torch.load(tmp_path / "s" / MODEL, weights_only=True)
    model = build_model(record["spec"], record["input_shape"], record["num_classes"])
    model.load_state_dict(record["state_dict"])
    assert json.dumps([record["spec"], *record["input_shape"], record["num_classes"]]) == json.dumps([SMALL, *SHAPE, 3])


def test_a_training_in_parts_keeps_the_course_of_the_whole(tmp_path):
    fit(tmp_path / "whole")
    fit(tmp_path / "parts", part={"until": 1})
    parts = fit(tmp_path / "parts")
    assert parts.record["epochs_run"] == 3
    for name in ("loss", "learning_rate", "val_macro_f1"):
        assert [row[name] for row in history(tmp_path / "parts")] == [row[name] for row in history(tmp_path / "whole")]


def test_a_device_is_the_one_named_or_what_is_there(monkeypatch):
    for cuda, mps, expected in (
        (True, True, {"auto": "cuda", "gpu": "cuda", "mps": "mps", "cpu": "cpu"}),
        (False, True, {"auto": "mps", "gpu": "mps"}),
        (False, False, {"auto": "cpu", "cpu": "cpu"}),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert {name: chosen_device(name).type for name in expected} == expected
    for name in ("gpu", "cuda", "mps"):
        with pytest.raises(UserError, match=f"--device {name}: PyTorch finds none here"):
            chosen_device(name)


def test_a_process_that_only_prepares_trains_on_the_device_too(monkeypatch):
    monkeypatch.setattr(TorchStage, "device", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    TorchStage.prepare(RunConfig(device="cuda"))  # all that a worker calls
    assert TorchStage.device.type == "cuda"
