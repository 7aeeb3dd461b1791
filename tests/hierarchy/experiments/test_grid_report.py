"""A grid's table and report: who is ranked against whom, what is chosen by what, and how seeds and failures show."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.experiments.grid import parse_axes, plan
from fer_hierarchy.hierarchy.experiments.report import write_grid_report
from fer_hierarchy.hierarchy.experiments.table import GridCell, blocks, grid_table, heat_map
from fer_hierarchy.hierarchy.runs.run import Run
from tests.hierarchy.experiments.test_comparison import TRUTH, VALENCE, write_run

EMOTIONS = VALENCE.emotions
FEW = np.array(["angry", "happy"] * 20)  # two emotions keep the figures of single faces few


def make_grid(
    folder, *axes, validation=lambda point: 0.5, test=lambda point: "fp", skill=lambda point: 0.1, fails=(), truth=FEW
):
    """A grid whose cells are invented runs: (grid, cells)."""
    grid = plan(
        RunConfig(mode="flat"), {"name": None}, parse_axes(axes), check=lambda config: config, command="a command"
    )
    cells = []
    for number, cell in enumerate(grid.cells):
        if cell.text in fails:
            cells.append(GridCell(cell.name, cell.point, None, "the loss became nan"))
            continue
        rows = [f"{test(cell.point)}-{row}" for row in range(len(truth))]
        run = write_run(folder / cell.name, seed=number, skill=skill(cell.point), rows=rows, truth=truth)
        record = json.loads((run / "metrics.json").read_text())
        record |= {"test_fingerprint": test(cell.point), "validation": {"macro_f1": validation(cell.point)}}
        (run / "metrics.json").write_text(json.dumps(record))
        (run / "config.json").write_text(json.dumps(cell.config.to_dict()))
        cells.append(GridCell(cell.name, cell.point, Run(run)))
    return grid, cells


def report(folder, grid, cells):
    write_grid_report(folder, grid, cells)
    return (folder / "report.md").read_text()


def section(text, title):
    return text[text.index(f"## {title}") :].split("\n## ")[0]


def test_the_table_has_values_scores_intervals_cost_and_failures(tmp_path):
    _, cells = make_grid(tmp_path, "augment=on,off", "seed=0,1", fails=("augment=off seed=1",))
    table = grid_table(cells)
    assert table[["augment", "seed"]].to_numpy().tolist() == [["on", "0"], ["on", "1"], ["off", "0"], ["off", "1"]]
    assert table["error"].tolist() == ["", "", "", "the loss became nan"]
    assert table.loc[3, "top1":"parameters"].isna().all()
    done = table[:3]
    assert (done["top1_low"] <= done["top1"]).all()
    assert (done["top1"] <= done["top1_high"]).all()
    for key in ("n", "balanced_accuracy", "macro_f1", "weighted_f1", "top2", "top3", "validation_macro_f1"):
        assert done[key].notna().all(), key
    assert (done["train_cpu_seconds"] == 5).all()


def test_validation_chooses_even_where_the_test_differs(tmp_path):
    grid, cells = make_grid(
        tmp_path,
        "model=shallow_cnn,deep_cnn,vgg13",
        validation=lambda point: {"shallow_cnn": 0.4, "deep_cnn": 0.6, "vgg13": 0.5}[point["model"]],
        skill=lambda point: 0.5 if point["model"] == "vgg13" else 0.1,
    )
    (block,) = blocks(cells)
    assert block.chosen.point["model"] == "deep_cnn"
    text = report(tmp_path, grid, cells)
    assert "belongs to deep_cnn" in text
    assert "chosen on validation faces alone" in text
    compared = json.loads((tmp_path / "comparison.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in compared["pairs"]] == [
        ("deep_cnn", "shallow_cnn"),
        ("deep_cnn", "vgg13"),
    ]
    assert compared["pairs"][1]["differences"]["top1"]["low"] > 0, "vgg13 is better on the test faces"
    assert "| **deep_cnn** |" in text


def test_one_axis_maps_recalls_and_two_map_top1(tmp_path):
    _, cells = make_grid(tmp_path / "one", "augment=on,off")
    means, spreads = heat_map(blocks(cells)[0])
    assert means.columns.tolist() == list(EMOTIONS)
    assert means.index.tolist() == ["augment on", "augment off"]
    recall = cells[1].run.metrics["answers"]["flat"]["per_class"][0]["recall"]
    assert means.loc["augment off", "angry"] == pytest.approx(recall)
    _, cells = make_grid(tmp_path / "three", "model=shallow_cnn,deep_cnn", "augment=on,off", "schedule=linear,cosine")
    means, spreads = heat_map(blocks(cells)[0])
    assert means.columns.tolist() == ["linear", "cosine"]
    assert means.index.tolist()[:2] == ["shallow_cnn, augment on", "shallow_cnn, augment off"]
    assert means.loc["deep_cnn, augment off", "cosine"] == pytest.approx(cells[7].scores["top1"])
    assert spreads.isna().all(axis=None)


def test_seeds_are_averaged_and_choose_together(tmp_path):
    lucky = {("shallow_cnn", "0"): 0.9, ("shallow_cnn", "1"): 0.1, ("deep_cnn", "0"): 0.6, ("deep_cnn", "1"): 0.6}
    grid, cells = make_grid(
        tmp_path,
        "model=shallow_cnn,deep_cnn",
        "seed=0,1",
        validation=lambda point: lucky[point["model"], point["seed"]],
    )
    (block,) = blocks(cells)
    assert block.chosen.name == "deep_cnn-seed0", "a single lucky seed chooses nothing"
    values = [cell.scores["top1"] for cell in cells[2:]]
    (_, deep) = block.repeats
    assert deep["top1"] == {
        "mean": pytest.approx(np.mean(values)),
        "std": pytest.approx(np.std(values, ddof=1)),
        "n": 2,
    }
    assert deep["seeds"] == [0, 1]
    text = report(tmp_path, grid, cells)
    assert f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" in section(text, "Several seeds")
    assert "adds to it" not in text


def test_cells_on_other_test_faces_are_never_ranked_against_each_other(tmp_path):
    grid, cells = make_grid(
        tmp_path, "model=shallow_cnn,deep_cnn", "split_by=sample,subject", test=lambda point: point["split_by"]
    )
    text = report(tmp_path, grid, cells)
    assert "a property of the protocol, not of the model" in text
    across = section(text, "Across test faces")
    assert re.search(r"\| deep_cnn \| \d+\.\d \([^|]+\) \| \d+\.\d \([^|]+\) \|", across)
    for letter, kind in (("A", "sample"), ("B", "subject")):
        table = section(text, f"Cells, test faces {letter} (split by {kind})")
        other = {"sample": "subject", "subject": "sample"}[kind]
        assert table.count(f"| {kind} |") + table.count(f"**{kind}**") == 2
        assert f"| {other} |" not in table
    for stem in ("", "-2"):
        compared = json.loads((tmp_path / f"comparison{stem}.json").read_text())
        assert len({pair[key].rpartition("-")[2] for pair in compared["pairs"] for key in "ab"}) == 1
        assert len(pd.read_csv(tmp_path / f"side_by_side{stem}.csv")) == len(FEW)


def test_seeds_that_cut_their_own_test_faces_are_paired_within_a_seed_only(tmp_path):
    grid, cells = make_grid(tmp_path, "model=shallow_cnn,deep_cnn", "seed=0,1", test=lambda point: point["seed"])
    (block,) = blocks(cells)
    assert [cell.point["seed"] for cell in block.paired] == ["0", "0"]
    text = report(tmp_path, grid, cells)
    assert "Each seed cuts test faces of its own" in text
    assert "adds to it" in section(text, "Several seeds")
    assert "property of the protocol" not in text


def test_failed_cells_are_named_with_their_reason_and_stand_in_the_table(tmp_path):
    grid, cells = make_grid(tmp_path, "augment=on,off", fails=("augment=off",))
    text = report(tmp_path, grid, cells)
    assert "1 of 2 cells failed" in text
    assert "no-augment: the loss became nan" in text
    assert "| off | failed | - |" in section(text, "Cells")


def test_a_grid_of_failures_alone_still_gives_the_reasons(tmp_path):
    grid, cells = make_grid(tmp_path, "seed=0,1", fails=("seed=0", "seed=1"))
    assert "2 of 2 cells failed" in report(tmp_path, grid, cells)
    assert grid_table(cells)["error"].tolist() == ["the loss became nan"] * 2


def test_a_single_cell_has_a_report_without_comparison(tmp_path):
    grid, cells = make_grid(tmp_path, "augment=on")
    text = report(tmp_path, grid, cells)
    assert "augment names" in text
    assert "## Differences" not in text
    assert not (tmp_path / "comparison.json").exists()


def test_links_and_command_are_there(drawn, tmp_path):
    grid, cells = make_grid(tmp_path, "augment=on,off", truth=TRUTH)
    text = report(tmp_path, grid, cells)
    html = (tmp_path / "report.html").read_text()
    assert "a command" in section(text, "How to repeat this")
    for name in ("heat_map", "differences", *(f"side_by_side_{emotion}" for emotion in EMOTIONS)):
        assert f"(figures/{name}.png)" in text
        assert (tmp_path / "figures" / f"{name}.png").is_file()
    assert 'src="figures' not in html


def test_a_quick_look_is_no_result(tmp_path):
    grid, cells = make_grid(tmp_path, "seed=0,1")
    assert "quick check" not in report(tmp_path, grid, cells)
    for cell in cells:
        cell.run.metrics["data"] = {"limit": 70}
    assert "--limit kept at most 70 rows of each split" in report(tmp_path, grid, cells)


def test_learned_features_of_all_configurations_stand_side_by_side(tmp_path):
    grid, cells = make_grid(tmp_path, "loss=ce,center,island")
    for cell in cells[:2]:
        stage = next(iter(cell.run.metrics.get("training") or {"flat": {}}))
        folder = cell.run.folder / "stages" / stage
        folder.mkdir(parents=True, exist_ok=True)
        points = {"row": ["a", "b"], "emotion": ["happy", "sad"], "x": [0.0, 1.0], "y": [1.0, 0.0]}
        pd.DataFrame(points).to_csv(folder / "features.csv", index=False)
    text = report(tmp_path, grid, cells)
    assert "features.png" in section(text, "Learned features")
    assert (tmp_path / "figures" / "features.png").is_file()
