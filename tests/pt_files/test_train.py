"""The command line of PyTorch training: runs that stand beside Keras runs, and bad input in one line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import pandas as pd
import torch
from matplotlib.figure import Figure

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.pt_files import convert
from fer_hierarchy.pt_files.train import main
from fer_hierarchy.pt_files.training import Training
from tests.conftest import CHECKOUT, TINY, run_program, write_fer_folder

SMALLEST = ("--image-size", "16", "--batch-size", "16", "--resamples", "100", "--model", TINY, "--optimizer", "sgd")
# As in this process: sums of several threads round in another order, and tests share their cores.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
FLAT = ("--mode", "flat", *SMALLEST, "--epochs", "6", "--seed", "5")


KILLED = """
import os, signal, sys
replace = os.replace
def replacing(source, target):  # kills this process once the file has been put in its place
    replace(source, target)
    if str(target) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replacing
from fer_hierarchy.pt_files.train import main
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, fer_folder) -> Path:
    """A results folder with a flat and a hierarchical run of PyTorch, and a flat run of Keras."""
    results = tmp_path_factory.mktemp("results")
    at = places(results)
    tree = ("--mode", "hierarchical", *SMALLEST, "--epochs", "1", "--balance", "negative=oversample", "--name", "tree")
    run_alone(["--data", str(fer_folder), *FLAT, "--name", "torch", *at], ["--data", str(fer_folder), *tree, *at])
    other = write_fer_folder(results / "other-data", per_split={"Training": 3, "PrivateTest": 3}, seed=9)
    outcomes = run_program(
        ("--data", fer_folder, *FLAT, "--name", "keras", *at),
        ("--mode", "compare", "keras", "torch", "--name", "pair", "--results", results),
        ("--mode", "evaluate", "torch", "--data", other, "--results", results),
        ("--mode", "flat", "--resume", "torch", *at),
    )
    (results / "outcomes.json").write_text(json.dumps(outcomes))
    return results


@pytest.fixture(scope="module")
def outcomes(place) -> list[tuple[int, str]]:
    """Exit code and output of tf_model.py's commands."""
    return [tuple(pair) for pair in read(place / "outcomes.json")]


def run_alone(*commands: list[str]) -> None:
    """Run the program in a process of its own, which must not load what only Keras needs, nor PyTorch too early."""
    script = (
        "import json, sys\n"
        "from matplotlib.figure import Figure\n"
        "from PIL import Image\n"
        # Figures are set up as ever and saved as a white dot, which is faster.
        "Figure.savefig = lambda figure, path, **options: Image.new('L', (1, 1), 255).save(path, 'PNG')\n"
        "from fer_hierarchy.pt_files.train import main\n"
        "assert 'torch' not in sys.modules, 'bad arguments must be refused at once'\n"
        "codes = [main(argv) for argv in json.loads(sys.argv[1])]\n"
        "print(codes, sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=ONE_THREAD,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == [f"{[0] * len(commands)} []"], done.stderr


def places(results: Path) -> tuple[str, ...]:
    return "--results", str(results), "--logs", str(results / "logs")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def files(run: Path) -> set[str]:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {name.replace("model.pt", "model.keras") for name in names}


def test_a_run_leaves_what_a_keras_run_leaves(place):
    assert files(place / "torch") == files(place / "keras")
    left, right = (pd.read_csv(place / run / "stages" / "flat" / "history.csv") for run in ("torch", "keras"))
    assert list(left.columns) == list(right.columns)
    assert len(left) == len(right) == 6
    assert (place / "logs" / "torch" / "run.log").stat().st_size > 0


def test_both_frameworks_evaluate_the_same_faces_with_the_same_settings(place):
    assert (place / "torch" / "splits.csv").read_text() == (place / "keras" / "splits.csv").read_text()
    ours, theirs = read(place / "torch" / "config.json"), read(place / "keras" / "config.json")
    assert {key for key in ours if ours[key] != theirs[key]} == {"name", "framework"}
    ours, theirs = read(place / "torch" / "metrics.json"), read(place / "keras" / "metrics.json")
    assert ours.keys() == theirs.keys()
    assert ours["test_fingerprint"] == theirs["test_fingerprint"]
    assert ours["training"]["flat"].keys() == theirs["training"]["flat"].keys()
    for name in ("parameters", "multiply_adds"):
        assert ours["cost"][name] == theirs["cost"][name] > 0


def test_a_pytorch_run_stands_beside_a_keras_run(place, outcomes):
    code, text = outcomes[1]
    assert code == 0, text
    record = read(place / "pair" / "comparison.json")
    assert record["test"]["n"] == 42
    assert {record["pairs"][0]["a"], record["pairs"][0]["b"]} == {"keras", "torch"}


def test_a_hierarchy_is_trained_stage_by_stage(place):
    record = read(place / "tree" / "metrics.json")
    assert list(record["training"]) == ["valence", "positive", "negative"]
    assert record["training"]["negative"]["balance"] == "oversample"
    assert record["training"]["valence"]["balance"] == "none"
    assert 0 < record["answers"]["soft"]["top1"] <= 1


def test_keras_refuses_a_pytorch_run_and_names_what_works(outcomes):
    code, text = outcomes[2]
    assert code == 2
    assert "was trained by PyTorch; python -m fer_hierarchy.pt_files.convert" in text
    code, text = outcomes[3]
    assert code == 2
    assert "it was started with pytorch; go on with: python -m fer_hierarchy.pt_files.train --resume" in text


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "stages" / "flat" / "model.pt", weights_only=True)["state_dict"]


def test_the_record_of_a_keras_run_trains_with_pytorch_and_an_interruption_names_how_to_go_on(
    place, tmp_path, monkeypatch, capsys
):
    save = Training.save

    def stopping(self, folder):
        save(self, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "save", stopping)
    assert main(["--config", str(place / "keras" / "config.json"), *places(tmp_path)]) == 130
    assert (
        "interrupted; go on with: python -m fer_hierarchy.pt_files.train --mode flat"
        in capsys.readouterr().err.splitlines()[-1]
    )
    assert read(tmp_path / "keras" / "config.json")["framework"] == "pytorch"
    assert (tmp_path / "keras" / "stages" / "flat" / "checkpoint.pt").is_file()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(place, fer_folder, tmp_path, monkeypatch):
    checkpoint = tmp_path / "killed" / "stages" / "flat" / "checkpoint.pt"
    command = ["--data", str(fer_folder), *FLAT, "--name", "killed", *places(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, checkpoint, *command], cwd=CHECKOUT, env=ONE_THREAD, check=False
    )
    assert done.returncode == -signal.SIGKILL
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).touch())
    assert main(["--resume", "killed", *places(tmp_path)]) == 0
    ours, theirs = (weights(run) for run in (place / "torch", tmp_path / "killed"))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def error_of(capsys, *argv: object) -> str:
    """The one line that the program ends with."""
    code = main([str(word) for word in argv])
    printed = capsys.readouterr().err.splitlines()
    assert code == 2
    assert printed[-1].startswith("pt_files.train: error: ")
    assert not [line for line in printed[:-1] if not line.startswith("note: ")]
    return printed[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mode", "compare"), "--mode: expected one of hierarchical, flat, got 'compare'"),
        (("--epoch", "3"), "unrecognized arguments: --epoch 3; --help lists all flags"),
        (("--epochs", "many"), "--epochs: expected a whole number, got 'many'"),
        (("--epochs", "happy=3"), "stage 'happy' is not part of this run"),
        (("--model", "mini_xception"), "no PyTorch twin of model 'mini_xception'"),
        (("--model", "compact_resnet:dropout=2"), "dropout is 2"),
        (("--mixup", "0.4"), "--mixup 0.4: PyTorch trains without"),
        (("--loss", "valence=center"), "--loss center: PyTorch trains with ce, weighted, focal"),
        (("--trunk", "shared"), "--trunk shared: pytorch trains a network for each stage"),
        (("--data", "nowhere"), "nowhere: no such file or folder"),
        (("--dataset", "fer"), "unknown data set 'fer'; known: affectnet"),
        (("--config", "nowhere.json"), "--config: nowhere.json is no file"),
        (("--resume", "nothing"), "no run 'nothing'"),
        (("--name", "../up"), "--name '../up': use up to"),
        (("--keras", "keras"), "--keras keras: a run has this name already"),
        (("--keras", "k", "--name", "k"), "--keras k: a run has this name already"),
        (("--keras", "../up"), "--keras '../up': use up to"),
        (("--keras", "k", "--model", "timm:resnet18"), "--keras k: timm:resnet18 has no Keras twin"),
        (("--name", "torch"), "exists already; choose another name or --resume torch"),
        (("--resume", "torch", "--epochs", "9"), "stage.epochs: 6 -> 9"),
        (("--resume", "torch", "--config", "x.json"), "--config does not go with --resume"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(flags, words, place, capsys):
    before = set(place.iterdir())
    assert words in error_of(capsys, *flags, *places(place))
    assert set(place.iterdir()) == before


@pytest.mark.slow
def test_one_command_leaves_a_run_of_keras_with_the_same_predictions(place, fer_folder, tmp_path, capsys):
    tree = ("--mode", "hierarchical", *SMALLEST, "--epochs", "1", "--precision", "mixed_bfloat16")
    made = ("--data", str(fer_folder), *tree, "--name", "trained", "--keras", "ordinary", *places(tmp_path))
    assert main(list(made)) == 0
    assert "ordinary: a run of Keras; its logits differ by" in capsys.readouterr().out
    assert files(tmp_path / "ordinary") == files(tmp_path / "trained") - {
        f"stages/{stage}/checkpoint.pt" for stage in ("valence", "positive", "negative")
    }
    ((code, text),) = run_program(
        ("--mode", "evaluate", "ordinary", "--data", fer_folder, "--name", "again", *places(tmp_path))
    )
    assert code == 0, text
    left, right = (pd.read_csv(tmp_path / run / "predictions.csv") for run in ("trained", "again"))
    assert list(left.columns) == list(right.columns)
    assert list(left.iloc[:, 0]) == list(right.iloc[:, 0])
    numbers = left.select_dtypes("float").columns
    assert len(numbers) > 7
    assert abs(left[numbers] - right[numbers]).max(axis=None) < 1e-4


def test_models_that_predict_otherwise_leave_no_run(place, tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "largest_difference", lambda *_: 2e-4)
    with pytest.raises(UserError, match=r"predicts differently, by 0\.0002; nothing was written"):
        convert.convert_run(place / "torch", tmp_path / "ordinary")
    assert not [*tmp_path.iterdir()]


def test_only_a_run_of_pytorch_becomes_one_of_keras(place, tmp_path, capsys):
    assert convert.main([str(place / "keras"), str(tmp_path / "new")]) == 2
    assert "a run of keras; expected a run of pt_files.train" in capsys.readouterr().err
    assert convert.main([str(place / "torch"), str(place / "keras")]) == 2
    assert "exists already; delete it or choose another name" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_keras_run_is_not_resumed(place, capsys):
    assert "it was started with keras; go on with: python tf_model.py --resume" in error_of(
        capsys, "--resume", "keras", *places(place)
    )


def test_help_appears_at_once_and_offers_only_what_works():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fer_hierarchy.pt_files.train", "--help"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "tensorflow", "pandas", "matplotlib"}
    assert "--loss ce|weighted|focal" in done.stdout
    assert "--mixup" not in done.stdout
    assert "--trunk" not in done.stdout


@pytest.mark.slow
def test_a_keras_run_of_drawn_faces_is_called_synthetic(tmp_path):
    call = ["--mode", "flat", "--dataset", "synthetic", "--limit", "30", *SMALLEST, "--epochs", "1"]
    assert main([*call, "--keras", "drawn", *places(tmp_path)]) == 0
    assert (tmp_path / "synthetic-drawn" / "config.json").is_file()
