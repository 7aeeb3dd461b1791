"""`--mode tune` as it is typed: what is wrong is one line, told at once, and leaves nothing behind."""

import json
import re
import subprocess
import sys

import pytest

from fer_hierarchy.hierarchy.cli import main
from fer_hierarchy.hierarchy.config import RunConfig, StageConfig
from fer_hierarchy.tuning.space.default_spaces import default_space
from fer_hierarchy.tuning.space.spaces import check_models, read_space
from tests.conftest import CHECKOUT
from tests.tuning.search.test_study import study_of, write


@pytest.fixture
def places(tmp_path):
    """Flags for a results folder with a run, and a folder of studies with one study."""
    run = tmp_path / "results" / "flat"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({**RunConfig(mode="flat").to_dict(), "name": "flat"}))
    write(tmp_path / "studies" / "first", study_of())
    return ["--results", str(tmp_path / "results"), "--study-dir", str(tmp_path / "studies")]


def refused(capsys, *words):
    code = main(["--mode", "tune", *words])
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, "")
    assert printed.err.startswith("tf_model.py: error: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--stage", "joy"],
            "--stage: expected one of valence, positive, negative, flat, all, composition or taxonomy",
        ),
        (["--tuner", "genetic"], "--tuner: expected one of random, bayesian, hyperband, grid, got 'genetic'"),
        (["--objective", "f1"], "--objective: expected one of macro_f1, balanced_accuracy, accuracy, nll"),
        (["--max-trials", "0"], "--max-trials: expected at least 1"),
        (["--budget", "90"], "--budget: expected a time such as 90m"),
        (["--fraction", "0"], "--fraction: expected above 0 and at most 1"),
        (["--fraction", "1.5"], "--fraction: expected above 0 and at most 1"),
        (["--space", "none.json"], "--space: none.json is no file"),
        (["--name", "first"], "exists already; choose another name or --resume first"),
        (["--resume", "second"], "no study 'second'"),
        (["--resume", "first", "--seed", "3"], "--resume first keeps its own settings; leave out what differs: seed"),
        (["--resume", "first", "--tuner", "grid"], "--tuner (bayesian -> grid)"),
        (["--resume", "first", "--config", "x"], "--config does not go with --resume"),
        (["flat"], "unexpected argument 'flat'"),
        (["--stage", "composition"], "needs a hierarchical RUN"),
        (["--stage", "composition", "none"], "no run 'none'"),
        (["--stage", "composition", "flat", "--tuner", "grid"], "--tuner does not go with --stage composition"),
        (["--stage", "taxonomy"], "needs one flat RUN, got 0"),
        (["--stage", "taxonomy", "flat", "--tuner", "grid"], "--tuner does not go with --stage taxonomy"),
        (["--task-cpus", "2"], "--task-cpus and --task-gpus are of trainings at once; add --workers N or --ray"),
        (["--workers", "0"], "--workers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_one_clear_line(words, message, places, capsys, tmp_path):
    assert message in refused(capsys, *words, *places)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == ["first"]


def test_a_search_that_trains_nothing_has_no_workers(places, capsys):
    pytest.importorskip("ray", reason="ray is not installed")
    line = refused(capsys, "--stage", "composition", "flat", "--workers", "2", *places)
    assert "--workers and --ray do not go with --stage composition" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mode", "flat", "--hyperparameters", "none"], "no study 'none'"),
        (
            ["--mode", "flat", "--hyperparameters", "first"],
            "best.json is missing; the search has no finished trial yet",
        ),
        (
            ["--mode", "flat", "--resume", "flat", "--hyperparameters", "first"],
            "--hyperparameters does not go with --resume",
        ),
        (["--mode", "evaluate", "flat", "--composition", "first", "--data", "."], "is no study made by"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_search_found_is_asked_for_by_name(words, message, places, capsys, tmp_path):
    write(tmp_path / "logs" / "tuning" / "first", study_of())
    code = main([*words, *places[:2], "--logs", str(tmp_path / "logs")])
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err


def test_the_space_of_the_docs_works(tmp_path):
    page = (CHECKOUT / "docs" / "tune.md").read_text(encoding="utf-8")
    text = re.search(r"<!-- example: space.json -->\n```json\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "space.json").write_text(text)
    config = StageConfig()
    space = read_space(tmp_path / "space.json", default_space(config, stage_is_flat=False), config)
    assert "erase" not in space
    assert space["loss"].choices == ("focal",)
    check_models(space, config)


def test_usage_errors_of_a_search_import_nothing_heavy(places):
    script = (
        "import sys\n"
        "from fer_hierarchy.hierarchy.cli import main\n"
        "assert main(sys.argv[1:]) == 2\n"
        "heavy = {'tensorflow', 'keras', 'keras_tuner', 'numpy', 'pandas', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    words = ["--mode", "tune", "--resume", "first", "--tuner", "grid", *places]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=CHECKOUT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
