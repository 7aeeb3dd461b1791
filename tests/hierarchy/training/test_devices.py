"""`--device` and `--jit`: what is refused before anything is read, and that the rest trains."""

import pytest
import tensorflow as tf

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from tests.conftest import QUICK, run_program

TRAIN = ("--mode", "flat", "--dataset", "synthetic", "--limit", "60", *QUICK, "--epochs", "1")


def test_devices_that_are_not_there_are_refused_and_nothing_is_written(tmp_path):
    call = [
        "--mode",
        "flat",
        "--dataset",
        "synthetic",
        "--limit",
        "60",
        *QUICK,
        "--epochs",
        "1",
        "--results",
        tmp_path / "r",
        "--logs",
        tmp_path / "l",
    ]
    for device, expected in (("gpu", "no GPU"), ("cuda", "no GPU"), ("mps", "PyTorch's"), ("tpu", "auto, cpu, gpu")):
        ((code, text),) = run_program([*call, "--device", device])
        assert code == 2
        assert expected in text
        assert "Traceback" not in text
    assert not (tmp_path / "r").exists() or not list((tmp_path / "r").iterdir())


def test_xla_compiles_a_training_that_need_not_repeat(tmp_path):
    call = [
        "--mode",
        "flat",
        "--dataset",
        "synthetic",
        "--limit",
        "60",
        *QUICK,
        "--epochs",
        "1",
        "--results",
        tmp_path / "r",
        "--logs",
        tmp_path / "l",
    ]
    call += ["--jit", "on", "--device", "cpu"]
    refused, trained = run_program(call, [*call, "--no-deterministic", "--name", "fast"])
    assert refused[0] == 2
    assert "add --no-deterministic" in refused[1]
    assert trained[0] == 0, trained[1]
    assert Run(tmp_path / "r" / "synthetic-fast").stage_records["flat"]["record"]["device"] == "cpu"


@pytest.fixture
def gpus(monkeypatch):
    """Pretend two GPUs; returns what is set of them."""
    found = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda shown, kind: found.append((kind, shown)))
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: found.append((gpu, on)))
    return found


def started(*_):
    raise RuntimeError("Physical devices cannot be modified after being initialized")


@pytest.mark.parametrize("device", ["auto", "gpu", "cuda"])
def test_every_gpu_takes_memory_as_it_needs_it(gpus, monkeypatch, device):
    KerasStage.use_device(RunConfig(device=device))
    assert gpus == [("GPU:0", True), ("GPU:1", True)]
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", started)
    KerasStage.use_device(RunConfig(device=device))  # a prediction came before: TensorFlow goes on with its memory


def test_a_process_that_only_prepares_hides_the_gpus_too(gpus, monkeypatch):
    config = RunConfig(device="cpu", deterministic=False)
    KerasStage.prepare(config)  # all that a worker calls
    assert gpus == [("GPU", [])]
    monkeypatch.setattr(tf.config, "set_visible_devices", started)
    with pytest.raises(UserError, match="--device cpu: TensorFlow has started"):
        KerasStage.prepare(config)
