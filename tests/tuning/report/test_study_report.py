import base64
import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.reports import figures as house
from fer_hierarchy.tuning.report import importance
from fer_hierarchy.tuning.report.study_report import write_study_report

SPACE = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
    "balance": ["none", "sampler"],
    "flip": [True, False],
    "model.widths": ["16+32+64", "32+64+160"],
    "model.squeeze_from": [None, 2, 3],
}


PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTjVCwAAAABJRU5ErkJggg==")


@contextmanager
def undrawn(path, *, rows=1, columns=1, **settings):
    """Axes that are drawn on and thrown away."""
    yield Figure().subplots(rows, columns, squeeze=False)
    path.write_bytes(PIXEL)


@pytest.fixture
def drawn():
    """Ask for real figures."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch, request):
    """Small forests, and figures of few pixels or none: nearly all of the time goes there."""
    monkeypatch.setattr(house, "DPI", 30)
    monkeypatch.setattr(importance, "REPEATS", 1)
    monkeypatch.setattr(importance, "_TREES", 10)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(house, "drawing", undrawn)


def trial(number, score, *, space=SPACE, **facts):
    """A row of trials.csv; without a score the trial failed."""
    rng = np.random.default_rng(number)
    drawn = {}
    for key, values in space.items():
        low_high = isinstance(values, dict)
        drawn[f"hp:{key}"] = 10 ** rng.uniform(-4, -2) if low_high else values[rng.integers(len(values))]
    minute = f"2026-01-01T{number // 60:02}:{number % 60:02}"
    row = {
        "trial": f"{number:04}",
        "status": "failed" if score is None else "completed",
        "score": score,
        "accuracy": None if score is None else 0.6,
        "epochs": 20,
        "epochs_asked": 20,
        "rung": None,
        "seconds": 30,
        "cpu_seconds": 36,
        "parameters": 490_000,
        "started": f"{minute}:00+00:00",
        "ended": f"{minute}:30+00:00",
        **drawn,
        "message": "the loss became nan" if score is None else "",
    }
    return row | facts


def make(folder, scores, *, objective="macro_f1", fresh=(0.5, 0.52, 0.54), rows=(), best=True, space=SPACE, **facts):
    """A study with a trial for each score, as a search leaves it."""
    table = pd.DataFrame([*(trial(n, score, space=space) for n, score in enumerate(scores)), *rows])
    if len(table):
        counts = ["epochs", "epochs_asked", "rung", "parameters"]
        table.astype(dict.fromkeys(counts, "Int64")).to_csv(folder / "trials.csv", index=False)
    study = {
        "name": "first",
        "stage": "positive",
        "classes": ["happy", "surprise"],
        "command": "python tf_model.py --mode tune --stage positive",
        "seed": 0,
        "synthetic": False,
        "search": {"tuner": "random", "objective": objective, "max_trials": len(table), "fraction": 0.25},
        "data": {
            "dataset": "made",
            "path": "some faces",
            "fingerprint": "f00d",
            "rows": {"train": 4000, "validation": 900},
            "train_used": 1000,
        },
        "taxonomy": {"name": "valence", "groups": {"positive": ["happy", "surprise"], "negative": ["sad"]}},
        "excluded": ["neutral"],
        "space": space,
        "config": {"stage": {"model": "compact_resnet"}, "stages": {}, "data": {"taxonomy": "valence"}},
        "notes": ["a note of the search"],
    }
    (folder / "study.json").write_text(json.dumps(study | facts))
    known = [(score, f"{n:04}") for n, score in enumerate(scores) if score is not None and np.isfinite(score)]
    if known and best:
        score, name = min(known) if objective == "nll" else max(known, key=lambda held: held[0])
        found = {"learning_rate": 0.000123457, "flip": True, "model": "compact_resnet:widths=16+32+64"}
        record = {"trial": name, "score": score, "hyperparameters": found, "epochs": 20}
        (folder / "best.json").write_text(json.dumps(record))
        if fresh:
            measured = {"seed": range(len(fresh)), "score": fresh, "seconds": 60, "cpu_seconds": 72}
            pd.DataFrame(measured).to_csv(folder / "remeasured.csv", index=False)
    return folder


def report(folder, scores, **settings):
    write_study_report(make(folder, scores, **settings))
    return (folder / "report.md").read_text()


def section(text, title):
    return text[text.index(f"## {title}") :].split("\n## ")[0]


FIVE = (0.5, 0.56, None, 0.53, 0.51)


def test_the_search_s_own_figure_stands_beside_the_one_of_fresh_seeds(tmp_path):
    text = section(report(tmp_path, FIVE), "Summary")
    assert "56.0 % (trial 0001; the best of 4 trials, so optimistic)" in text
    assert "52.0 ± 2.0 % (mean ± SD of 3 trainings; the figure to expect)" in text
    assert "1 failed" in text
    # Five trials of 36 s and three trainings of 72 s; trials one a minute, half a minute each.
    assert "| 0.11 (0.06 of it re-measuring; 6 min of wall time)" in text
    assert "same 900 validation faces, by which the settings were chosen." in text
    assert "a note of the search" in text


def test_everything_is_in_one_file(tmp_path, drawn):
    text = report(tmp_path, FIVE)
    page = (tmp_path / "report.html").read_text()
    assert "figures/" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"progress.png", "progress_cost.png", "slices_1.png", "slices_2.png", "parallel.png"}
    assert page.count("data:image/png") == len(figures)
    assert all(f"figures/{name}" in text for name in figures)


def test_the_best_trials_stand_in_order_with_their_values(tmp_path):
    text = section(report(tmp_path, FIVE), "The best trials")
    assert "| Trial | 0001 | 0003 | 0004 | 0000 |" in text
    assert "| **Macro F1 %** | **56.0** | **53.0** | **51.0** | **50.0** |" in text
    assert "| Parameters | 0.49 M | 0.49 M |" in text
    assert "| CPU minutes | 0.6 |" in text
    assert "standard error of 1.6 points" in text  # the root of 0.6 * 0.4 / 900
    for key in SPACE:
        assert f"| {key} |" in text or f" {key} " in text


def test_what_all_best_trials_share_is_said_once(tmp_path):
    space = {"learning_rate": SPACE["learning_rate"], "balance": ["sampler"]}
    text = section(report(tmp_path, FIVE, space=space), "The best trials")
    assert "The same in all of these: balance sampler." in text
    assert "| balance |" not in text


def test_the_command_uses_the_study_on_its_data(tmp_path):
    text = section(report(tmp_path, FIVE), "The best trials")
    start = "python tf_model.py --mode hierarchical --data 'some faces'"
    assert f"{start} --hyperparameters {tmp_path / 'best.json'}" in text
    assert "| learning_rate | 0.000123457 |" in text
    assert "| flip | on |" in text


def test_the_command_keeps_the_grouping_and_what_was_left_out(tmp_path):
    config = {"stage": {"model": "m"}, "data": {"taxonomy": "arousal", "exclude": ["neutral"], "emotions": []}}
    text = report(tmp_path, FIVE, stage="flat", config=config)
    assert "--mode flat --data 'some faces' --taxonomy arousal --exclude neutral --hyperparameters" in text


def test_a_model_of_the_stage_s_own_is_the_one_named(tmp_path):
    config = {"stage": {"model": "m"}, "stages": {"positive": {"model": "own_net"}}, "data": {}}
    assert report(tmp_path, FIVE, config=config).startswith("# Search for stage positive: own_net, made")


def test_a_search_that_goes_on_says_so(tmp_path):
    running = trial(5, None, status="running", message="")
    search = {"tuner": "random", "objective": "macro_f1", "max_trials": 20, "fraction": 1}
    text = section(report(tmp_path, FIVE, rows=[running], search=search), "Summary")
    assert "Not finished: 6 of 20 trials were started, 1 of them not ended. Continue with --resume first." in text
    assert "1 failed; 1 running; 20 planned" in text


def test_without_best_json_there_is_a_warning_and_no_command(tmp_path):
    text = report(tmp_path, FIVE, best=False)
    assert "best.json is missing" in section(text, "Summary")
    assert "not re-measured" in section(text, "Summary")
    assert "--hyperparameters" not in text


def test_a_best_json_that_is_behind_is_named(tmp_path):
    make(tmp_path, FIVE)
    record = json.loads((tmp_path / "best.json").read_text()) | {"trial": "0000"}
    (tmp_path / "best.json").write_text(json.dumps(record))
    write_study_report(tmp_path)
    assert "best.json holds trial 0000, and trial 0001 is better now." in (tmp_path / "report.md").read_text()


def test_synthetic_faces_are_called_so_everywhere(tmp_path):
    text = report(tmp_path, FIVE, synthetic=True)
    assert text.startswith("# Synthetic: Search for stage positive")
    assert "SYNTHETIC FACES" in text
    assert 'role="alert"' in (tmp_path / "report.html").read_text()


def test_a_finished_study_has_no_warning(tmp_path):
    assert "> **" not in report(tmp_path, FIVE)


def test_nothing_begun(tmp_path):
    text = report(tmp_path, (), search={"tuner": "grid", "objective": "nll", "max_trials": 9, "fraction": 1})
    assert "Not finished: 0 of 9 trials were started" in text
    assert "## The way there" not in text
    assert "0.0001 to 0.01, log" in section(text, "What was searched")


def test_one_trial(tmp_path, drawn):
    text = report(tmp_path, (0.5,), fresh=(0.49,))
    assert "50.0 % (trial 0000; the only one)" in text
    assert "49.0 % (one training; the figure to expect)" in text
    assert "it takes at least 8 scored trials" in section(text, "Importance")
    assert "## Slices" not in text


def test_all_failed_are_grouped_by_what_went_wrong(tmp_path):
    rows = [trial(n, None, message=f"no room for {n}.5 GB") for n in range(12)]
    text = report(tmp_path, (None, None), rows=rows)
    assert "No trial has a score yet" in text
    table = section(text, "Failed trials")
    assert "14 of 14 trials ended without a score" in table
    assert "| no room for 0.5 GB | 12 | 0000, 0001, 0002, 0003, 0004, 0005, 0006, 0007 and 4 more |" in table
    assert "| the loss became nan | 2 | 0000, 0001 |" in table


def test_scores_that_are_no_numbers_are_failures(tmp_path):
    text = report(tmp_path, (0.5, float("nan"), float("inf"), 0.4))
    assert "| its score is not a number | 2 | 0001, 0002 |" in section(text, "Failed trials")
    assert "best of 2 trials" in text


def test_equal_scores(tmp_path, drawn):
    text = report(tmp_path, (0.5,) * 12, fresh=(0.5, 0.5))
    assert "all trials have the same macro_f1" in section(text, "Importance")
    assert "50.0 ± 0.0 %" in text


def test_settings_that_never_vary(tmp_path):
    text = report(tmp_path, (0.5, 0.6, 0.55), space={"balance": ["sampler"]})
    assert "## Slices" not in text
    assert "study has 1" in section(text, "Importance")


def test_likelihood_is_better_where_it_is_lower(tmp_path, drawn):
    text = report(tmp_path, (1.2, 0.9, 1.1), objective="nll", fresh=(0.95,))
    assert "| 0.900 (trial 0001;" in text
    assert "lower is better" in section(text, "What was searched")
    assert "standard error" not in text


def test_many_trials_are_left_to_the_csv(tmp_path, drawn):
    rng = np.random.default_rng(0)
    scores = [None if n % 17 == 3 else 0.1 if n % 11 == 5 else float(rng.normal(0.5, 0.02)) for n in range(200)]
    text = report(tmp_path, scores)
    assert "200 trials are too many for this page; trials.csv has them all." in section(text, "All trials")
    assert text.count("0150") <= 1
    assert "Triangles at the edge" in section(text, "The way there")


def test_few_trials_are_all_listed(tmp_path):
    text = section(report(tmp_path, FIVE), "All trials")
    assert [line.split("|")[1].strip(" *") for line in text.splitlines() if line.startswith(("| 0", "| **0"))] == [
        f"{n:04}" for n in range(5)
    ]
    assert "| 0002 | failed | 20 | 0.49 M | 0.6 |" in text
    assert "| **0001** | **56.0** |" in text


def test_importance_is_drawn_where_trials_can_tell(tmp_path, drawn):
    make(tmp_path, [0.5] * 40)
    table = pd.read_csv(tmp_path / "trials.csv", dtype={"trial": str}, keep_default_na=False)
    table["score"] = 0.5 + 0.1 * (table["hp:balance"] == "sampler") + np.linspace(0, 0.001, 40)
    table.to_csv(tmp_path / "trials.csv", index=False)
    write_study_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "figures/importance.png" in section(text, "Importance")
    assert "the most important first" in section(text, "Slices")
    assert "Scores of all trials by balance" in section(text, "Slices")


def test_rungs_of_hyperband(tmp_path, drawn):
    first = [trial(n, 0.3 + n / 100, rung=0, epochs=2, epochs_asked=2) for n in range(6)]
    kept = {name: value for name, value in first[5].items() if name.startswith("hp:")}
    second = trial(6, 0.5, rung=1, epochs=6, epochs_asked=6, from_trial="0005") | kept
    record = {"trial": "0006", "score": 0.5, "hyperparameters": {}, "epochs": 6}
    make(tmp_path, (), rows=[*first, second])
    (tmp_path / "best.json").write_text(json.dumps(record))
    write_study_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "darker dots had more epochs" in section(text, "The way there")
    table = section(text, "The best trials")
    assert "| Trial | 0006 | 0004 | 0003 |" in table  # 0005 has the settings of the trial that went on from it
    assert "| Epochs | 6 | 2 |" in table


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda study: study.pop("space"), "space is missing"),
        (lambda study: study["search"].update(objective="luck"), "objective 'luck' is none of macro_f1"),
        (lambda study: study["space"].update(speed=[1, 2]), "speed"),
    ],
)
def test_a_damaged_study_is_named(tmp_path, change, said):
    path = make(tmp_path, FIVE) / "study.json"
    study = json.loads(path.read_text())
    change(study)
    path.write_text(json.dumps(study))
    with pytest.raises(UserError) as error:
        write_study_report(tmp_path)
    assert "study.json" in str(error.value)
    assert said in str(error.value)


def test_a_missing_study_is_named(tmp_path):
    with pytest.raises(UserError, match=r"study\.json is missing"):
        write_study_report(tmp_path)


def test_fresh_trainings_without_a_score_are_left_out(tmp_path):
    text = report(tmp_path, FIVE, fresh=(0.5, None, 0.7))
    assert "60.0 ± 14.1 % (mean ± SD of 2 trainings; the figure to expect)" in text
