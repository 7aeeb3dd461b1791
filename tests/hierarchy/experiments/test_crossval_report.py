"""The table and the report of a cross-validation, and two compared: what is averaged, pooled, paired and reported."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.crossval import plan
from fer_hierarchy.hierarchy.experiments.crossval_table import crossval_table
from fer_hierarchy.hierarchy.experiments.grid import write_grid
from fer_hierarchy.hierarchy.experiments.report import compare_crossvals, write_crossval_report
from fer_hierarchy.hierarchy.experiments.table import GridCell
from fer_hierarchy.hierarchy.progress import ANNOUNCED
from fer_hierarchy.hierarchy.runs.run import Run
from tests.hierarchy.experiments.test_comparison import VALENCE, write_run

EMOTIONS = VALENCE.emotions
FACES = 12  # test faces of a fold, of three people
MEASURES = ("top1", "balanced_accuracy", "macro_f1")


def make(folder, *, folds=3, repeats=1, fails=(), skill=0.2, mode="flat", people=True, shared=False, seed=0, **facts):
    """A cross-validation whose runs are invented: (grid, cells, folds.csv)."""
    flags = {"folds": str(folds), "mode": mode, "resamples": "100", "name": None}
    made = plan(RunConfig(), flags, repeats=repeats, check=lambda config: config, command="a command")
    cells, tables = [], []
    for number, cell in enumerate(made.cells):
        repeat, fold = int(cell.point["seed"]) + 1, int(cell.point["fold"])
        # The second repeat shifts every face into the next fold.
        faces = [((fold - repeat) % folds) * FACES + face for face in range(FACES)]
        rows, subjects = [f"face{face:03}" for face in faces], [f"S{face // 4:02}" for face in faces]
        own = pd.DataFrame({"row": rows, "subject": subjects if people else ""})
        tables.append(own.assign(repeat=repeat, fold=fold))
        if cell.text in fails:
            cells.append(GridCell(cell.name, cell.point, None, "the loss became nan"))
            continue
        truth = np.array([EMOTIONS[face % 2 * 3] for face in faces])
        run = write_run(folder / cell.name, seed=seed + number, skill=skill, rows=rows, truth=truth, mode=mode)
        record = json.loads((run / "metrics.json").read_text())
        record |= {"validation": {"macro_f1": 0.5}, "data": {"dataset": "ck48", "fingerprint": "f00d"}, **facts}
        (run / "metrics.json").write_text(json.dumps(record))
        trained = own["subject"].iloc[:1] if shared else ["S99"]
        train = pd.DataFrame({"row": [f"train{fold}"], "subject": trained, "split": "train"})
        splits = pd.concat([own.assign(split="test"), train]).assign(emotion="happy", pixel_hash="x")
        splits.to_csv(run / "splits.csv", index=False)
        stage = run / "stages" / "flat"
        stage.mkdir(parents=True)
        pd.DataFrame({"epoch": [1, 2], "accuracy": [0.1, 0.2], "val_accuracy": [0.2, 0.3]}).to_csv(
            stage / "history.csv", index=False
        )
        (run / "report.html").write_text("a report")
        cells.append(GridCell(cell.name, cell.point, Run(run)))
    return made, cells, pd.concat(tables, ignore_index=True)


def saved(folder, **settings):
    """The same on disk, as training leaves it."""
    made, _, table = make(folder, **settings)
    write_grid(folder, made)
    table.to_csv(folder / "folds.csv", index=False)
    return folder


def report(folder, **settings):
    write_crossval_report(folder, *make(folder, **settings))
    return (folder / "report.md").read_text()


def section(text, title):
    return text[text.index(f"## {title}") :].split("\n## ")[0]


def test_means_spreads_and_the_pooled_confusion_are_those_of_the_folds(tmp_path):
    made, cells, folds = make(tmp_path)
    table = crossval_table(made, cells, folds)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    metrics = [json.loads((tmp_path / cell.name / "metrics.json").read_text()) for cell in cells]
    for measure in MEASURES:
        values = [record["answers"]["flat"][measure] for record in metrics]
        assert [row[measure] for row in table["rows"]] == pytest.approx(values)
        found = table["means"]["runs"][measure]
        assert (found["mean"], found["std"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
        low, high = table["pooled"]["intervals"][measure]
        assert low <= table["pooled"][measure] <= high
    summed = np.sum([record["answers"]["flat"]["confusion"] for record in metrics], axis=0)
    assert table["pooled"]["confusion"] == summed.tolist()
    assert table["pooled"]["n"] == table["data"]["faces"] == 3 * FACES
    assert table["data"]["subjects"] == 9
    assert [row["subjects"] for row in table["rows"]] == [3, 3, 3]


def test_repeats_are_averaged_before_their_spread_is_taken(tmp_path):
    made, cells, folds = make(tmp_path, repeats=2)
    means = crossval_table(made, cells, folds)["means"]
    values = np.array([cell.scores["top1"] for cell in cells]).reshape(2, 3)
    assert [held["top1"]["mean"] for held in means["of_repeats"]] == pytest.approx(values.mean(axis=1).tolist())
    assert means["over_repeats"]["top1"]["std"] == pytest.approx(values.mean(axis=1).std(ddof=1))
    text = report(tmp_path / "other", repeats=2)
    assert "each face counts 2 times, once for each repeat" in text
    assert "| **means of repeats** | **6** |" in section(text, "Repeats")
    assert "| 2 | 1 | 3 |" in section(text, "Folds")


def test_whole_people_are_drawn_with_all_their_predictions(tmp_path):
    """Where everybody is right or wrong as a whole, single faces would promise a far narrower interval."""
    made, cells, folds = make(tmp_path)
    lucky = {f"S{number:02}" for number in range(0, 9, 2)}
    for cell in cells:
        table = cell.run.predictions
        person = table["row"].map(folds.set_index("row")["subject"])
        table["predicted"] = np.where(person.isin(lucky), table["true"], "sad")
    narrow = crossval_table(made, cells, folds.assign(subject=""))["pooled"]["intervals"]["top1"]
    wide = crossval_table(made, cells, folds)["pooled"]["intervals"]["top1"]
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_the_report_tells_seed_faces_cut_fingerprint_and_command(drawn, tmp_path):
    text = report(tmp_path)
    assert "36 faces of ck48 of 9 people stand in 3 folds, cut by subject; seed 0" in text
    assert "no independent measurements" in text
    assert "f00d" in section(text, "Protocol")
    assert "a command" in section(text, "How to repeat this")
    assert "synthetic" not in text.lower()
    for name in ("folds", "confusion", "confusion_folds", "per_class", "curves_flat"):
        assert f"(figures/{name}.png)" in text
        assert (tmp_path / "figures" / f"{name}.png").is_file()
    assert 'src="figures' not in (tmp_path / "report.html").read_text()


def test_the_gate_of_a_hierarchy_has_a_column(tmp_path):
    text = report(tmp_path, mode="hierarchical")
    gates = [json.loads((tmp_path / f"seed0-fold{n}" / "metrics.json").read_text())["stages"] for n in (1, 2, 3)]
    assert "| Valence % |" in section(text, "Folds")
    for number, stages in enumerate(gates, 1):
        assert f"{100 * stages['valence']['top1']:.1f}" in section(text, "Folds").split(f"\n| {number} |")[1]


def test_synthetic_faces_are_named(tmp_path):
    text = report(tmp_path / "cv", synthetic=True)
    assert "SYNTHETIC FACES" in text
    assert text.startswith("# Synthetic: ")


def test_people_on_both_sides_are_counted(tmp_path):
    text = report(tmp_path, shared=True)
    assert "People stand on both sides: 12 of 36 test faces" in text
    assert "| Shared |" in section(text, "Folds")


def test_unknown_people_are_no_people(tmp_path):
    text = report(tmp_path, people=False)
    assert "stand in 3 folds, cut by face" in text
    assert "drawing faces" in text
    assert "| People |" not in section(text, "Folds")


def test_failed_folds_are_named_and_the_others_stand(tmp_path):
    text = report(tmp_path, fails=("seed=0 fold=2",))
    assert "1 of 3 runs failed" in text
    assert "seed0-fold2: the loss became nan" in text
    assert "Those tested" in text
    assert "24" in section(text, "Confusion")
    assert "3 of 3 runs failed" in report(tmp_path / "all", fails=[f"seed=0 fold={n}" for n in (1, 2, 3)])


def test_a_run_of_other_faces_is_refused(tmp_path):
    made, cells, folds = make(tmp_path)
    with pytest.raises(UserError, match="evaluated on other faces than those of its fold"):
        crossval_table(made, cells, folds.assign(row=folds["row"] + "x"))


def compare(results, *names):
    return compare_crossvals(
        [str(name) for name in names], name=None, resamples=100, seed=0, results=results, command="compare them"
    )


def test_two_cross_validations_are_paired_fold_by_fold(drawn, tmp_path, caught_logs):
    a, b = saved(tmp_path / "a", repeats=2), saved(tmp_path / "b", repeats=2, skill=0.6, seed=50)
    place = compare(tmp_path, a, b)
    assert place.name == "compare-a-vs-b"
    (pair,) = json.loads((place / "comparison.json").read_text())["pairs"]
    top1 = [
        [
            json.loads((folder / f"seed{s}-fold{f}" / "metrics.json").read_text())["answers"]["flat"]["top1"]
            for s, f in runs
        ]
        for folder in (a, b)
        for runs in [[(s, f) for s in (0, 1) for f in (1, 2, 3)]]
    ]
    deltas = np.subtract(top1[1], top1[0])
    found = pair["measures"]["top1"]
    assert found["of_runs"] == pytest.approx(deltas.tolist())
    assert found["difference"]["mean"] == pytest.approx(deltas.mean())
    assert found["difference"]["std"] == pytest.approx(deltas.std(ddof=1))
    assert found["p"] < 0.05
    assert pair["pooled"]["top1"]["low"] > 0
    assert sum(held["b_only"] - held["a_only"] for held in pair["mcnemar"]) == round(36 * 2 * deltas.mean())
    text = (place / "report.md").read_text()
    assert "b is better than a on these faces" in text
    assert "compare them" in text
    _, first, second, line = (record.getMessage() for record in caught_logs.records if hasattr(record, ANNOUNCED))
    assert re.split(" {2,}", first)[:2] == ["a", f"{100 * np.mean(top1[0]):.1f} ± {100 * np.std(top1[0], ddof=1):.1f}"]
    assert second.startswith("b ")
    assert line.startswith(f"b minus a: {100 * pair['pooled']['top1']['difference']:+.1f} (")
    assert "(t test over folds), n = 72" in line


def test_cross_validations_over_other_folds_are_not_compared(tmp_path):
    a, other = saved(tmp_path / "a"), saved(tmp_path / "other", folds=2)
    with pytest.raises(UserError, match="cannot be compared: their faces differ"):
        compare(tmp_path, a, other)
    turned = saved(tmp_path / "turned")
    for fold, name in enumerate(("seed0-fold2", "seed0-fold3", "seed0-fold1"), 1):
        (turned / name).rename(turned / f"new{fold}")
    for fold in (1, 2, 3):
        (turned / f"new{fold}").rename(turned / f"seed0-fold{fold}")
    table = pd.read_csv(turned / "folds.csv")
    table.assign(fold=table["fold"].map({2: 1, 3: 2, 1: 3})).to_csv(turned / "folds.csv", index=False)
    with pytest.raises(UserError, match="36 of 36 faces stand in another fold"):
        compare(tmp_path, a, turned)


def test_an_unfinished_or_repeated_cross_validation_is_not_compared(tmp_path):
    a, b = saved(tmp_path / "a"), saved(tmp_path / "b", fails=("seed=0 fold=3",))
    with pytest.raises(UserError, match=r"b is not finished: seed0-fold3 missing; go on with: .* --resume"):
        compare(tmp_path, a, b)
    with pytest.raises(UserError, match="named twice"):
        compare(tmp_path, a, "a")
