"""The public names: their examples run, in any folder, and print nothing; what is wrong is a ValueError of one line."""

import doctest
import io
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fer_hierarchy
from fer_hierarchy import DataConfig, EvaluationConfig, Run, RunConfig, StageConfig, train

# In an order in which later examples may open what earlier ones wrote.
SETTINGS = (
    "DataConfig",
    "StageConfig",
    "EvaluationConfig",
    "RunConfig",
    "SearchConfig",
    "WorkerConfig",
    "Taxonomy",
    "UserError",
)
ACTIONS = (
    "train",
    "Run",
    "train_with_baseline",
    "resume",
    "evaluate",
    "compare",
    "Comparison",
    "ensemble",
    "audit",
    "Audit",
    "export",
)
SEARCH = ("tune", "Study")
TINY = "compact_resnet:stem_width=8:widths=16:blocks=1:strides=2:squeeze_from=none"


def run_examples(names, folder, monkeypatch):
    monkeypatch.chdir(folder)
    runner, parser = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL), doctest.DocTestParser()
    failed = io.StringIO()
    for name in names:
        text = getattr(fer_hierarchy, name).__doc__
        examples = parser.get_doctest(text, {}, name, None, 0)
        assert examples.examples, f"{name} has no example"
        with redirect_stderr(io.StringIO()):
            runner.run(examples, out=failed.write)
    assert runner.failures == 0, failed.getvalue()


def test_every_public_name_has_an_example_that_is_run():
    assert {*SETTINGS, *ACTIONS, *SEARCH, "Predictor"} == set(fer_hierarchy.__all__)
    assert set(fer_hierarchy.__all__) <= set(dir(fer_hierarchy))


def test_examples_of_the_settings_and_the_predictor(tmp_path, monkeypatch):
    run_examples((*SETTINGS, "Predictor"), tmp_path, monkeypatch)


@pytest.mark.slow
def test_examples_of_what_the_program_does(tmp_path, monkeypatch):
    run_examples((*ACTIONS, *SEARCH), tmp_path, monkeypatch)


def config(data, **settings):
    stage = StageConfig(model=TINY, epochs=2, batch_size=16, optimizer="sgd")
    given = {"mode": "flat", "data": DataConfig(data=data, image_size=16), "stage": stage}
    return RunConfig(**{**given, "evaluation": EvaluationConfig(resamples=100), **settings})


def test_training_prints_nothing_and_passes_callbacks(fer_folder, tmp_path, monkeypatch):
    import keras

    monkeypatch.chdir(tmp_path)
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, dict(logs))))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        run = train(config(fer_folder, name="first"), callbacks=[callback], progress=False)
    assert out.getvalue() == ""
    assert err.getvalue() == ""
    assert [epoch for epoch, _ in seen] == [0, 1]
    assert {"loss", "accuracy", "val_loss"} <= set(seen[0][1])
    assert run.folder == Path("results/first")
    assert Run("first").predictions.shape == run.predictions.shape
    assert run.history["flat"]["epoch"].tolist() == [1, 2]
    assert run.report_html.is_file()
    table = pd.crosstab(run.predictions["true"], run.predictions["predicted"])
    assert table.to_numpy().sum() == run.scores["n"] == 42
    predicted = run.predict([np.zeros((30, 40), np.uint8), np.zeros((50, 50, 3), np.uint8)])
    assert len(predicted) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RunConfig(seed=-5), "--seed: expected at least 0"),
        (lambda: RunConfig(mode="flat", trunk="shared"), "--trunk shared joins the stages"),
        (lambda: RunConfig(stages={"gate": {}}), "stage 'gate' is not part of this run"),
        (lambda: StageConfig(epochs="many"), "--epochs: expected a whole number, got 'many'"),
        (lambda: DataConfig(emotions=["glee"]), "--emotions: unknown emotion 'glee'"),
        (lambda: train(config("nowhere/at/all")), "--data: nowhere/at/all does not exist"),
        (lambda: Run("nobody"), "no run 'nobody'"),
        (lambda: fer_hierarchy.compare("one"), "no run 'one'"),
    ],
)
def test_what_is_wrong_is_a_value_error_of_one_line(make, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_no_framework():
    code = "import sys, fer_hierarchy as f; f.RunConfig(); print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    place = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place)
    assert done.stdout.strip() == "[]", done.stderr
