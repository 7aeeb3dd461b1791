"""`--device` and `--jit`: what is refused before anything is read, and that the rest trains."""

from fer_hierarchy.hierarchy.runs.run import Run
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
