import json
import logging
import time

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import emotion_scores, stage_scores
from fer_hierarchy.hierarchy.experiments.comparison import compare
from fer_hierarchy.hierarchy.experiments.report import write_comparison
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES
from fer_hierarchy.hierarchy.wording import signed

VALENCE = TAXONOMIES["valence"].exclude(["contempt"])
OTHER = TAXONOMIES["valence-neutral-negative"].exclude(["contempt"])
TRUTH = np.random.default_rng(0).permutation(np.array(VALENCE.emotions * 12))


def write_run(folder, *, mode="flat", taxonomy=VALENCE, truth=TRUTH, seed=0, skill=0.1, rows=None, **config):
    """A finished run folder of random predictions, better with more skill."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    labels = np.array([taxonomy.emotions.index(name) for name in truth])
    table = draw.dirichlet(np.ones(len(taxonomy.emotions)), len(truth)) * (1 - skill)
    table += skill * np.eye(len(taxonomy.emotions))[labels]
    classifier = HierarchicalClassifier(taxonomy)
    gate, specialists = classifier.imply(table)
    routings = ("flat",) if mode == "flat" else ("soft", "hard")
    groups = [taxonomy.group_of(name) for name in truth]
    answers = {
        name: emotion_scores(
            truth, classifier.compose(gate, specialists, routing, true_groups=groups), taxonomy, resamples=20
        )
        for name, routing in [*((r, "soft" if r == "flat" else r) for r in routings), ("oracle", "oracle")]
    }
    stages = ["flat"] if mode == "flat" else [taxonomy.gate, *taxonomy.specialists]
    record = {
        "format": 1,
        "mode": mode,
        "synthetic": False,
        "seed": seed,
        "headline": routings[0],
        "test_fingerprint": "abc",
        "taxonomy": taxonomy.to_dict(),
        "excluded": ["contempt"],
        "emotions": list(taxonomy.emotions),
        "answers": answers,
        "stages": stage_scores(truth, gate, specialists, taxonomy, resamples=20),
        "data": {"counts": {"train": dict.fromkeys(taxonomy.emotions, 10)}},
        "training": {s: {"model": "small", "epochs": 2, "epochs_run": 2, "balance": "none"} for s in stages},
        "cost": {"train_cpu_seconds": 5.0, "parameters": 10, "multiply_adds": 20, "latency_ms": {"median": 1.0}},
    }
    write_json(folder / "metrics.json", record)
    write_json(
        folder / "config.json", {"mode": mode, "name": folder.name, "seed": seed, "stage": {"epochs": 2}, **config}
    )
    write_json(folder / "environment.json", {"processor": "Abacus 1"})
    predictions = pd.DataFrame(
        {
            "row": rows or [f"face{i:03}" for i in range(len(truth))],
            "true": truth,
            "predicted": np.array(taxonomy.emotions)[table.argmax(axis=1)],
            "route": np.array(taxonomy.group_names)[gate.argmax(axis=1)],
            **{f"p_{name}": column for name, column in zip(taxonomy.emotions, table.T, strict=True)},
        }
    )
    predictions.to_csv(folder / "predictions.csv", index=False, float_format="%.6f")
    return folder


def write_json(path, record):
    path.write_text(json.dumps(record), encoding="utf-8")


def compare_folders(*folders, **keywords):
    return compare([Run(folder) for folder in folders], resamples=100, **keywords)


def omissions(table):
    return {entry["what"]: entry["why"] for entry in table["omitted"]}


@pytest.fixture
def flat(tmp_path):
    return write_run(tmp_path / "flat")


@pytest.fixture
def composed(tmp_path):
    return write_run(tmp_path / "composed", mode="hierarchical", seed=1, skill=0.2)


def test_flat_and_hierarchical_stand_side_by_side(flat, composed):
    table = compare_folders(flat, composed)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert table["test"] == {"n": 84, "split": "test", "fingerprint": "abc", "subjects": None}
    assert [(row["name"], row["headline"]) for row in table["runs"]] == [("flat", "flat"), ("composed", "soft")]
    for row, folder in zip(table["runs"], (flat, composed), strict=True):
        record = json.loads((folder / "metrics.json").read_text())
        headline = record["answers"][record["headline"]]
        for figure in ("top1", "balanced_accuracy", "macro_f1"):
            assert row[figure] == pytest.approx(headline[figure])
            assert row["intervals"][figure][0] <= row[figure] <= row["intervals"][figure][1]
        assert row["ece"] == pytest.approx(headline["ece"], abs=1e-4)
        assert row["group_top1"] == pytest.approx(headline["group"]["top1"])
    assert [(r["run"], r["routing"]) for r in table["routings"]] == [
        *(("flat", r) for r in ("flat", "oracle")),
        *(("composed", r) for r in ("soft", "hard", "oracle")),
    ]
    assert [(r["stage"], r["run"]) for r in table["stages"][:3]] == [
        ("valence", "flat"),
        ("valence", "composed"),
        ("positive", "flat"),
    ]


def test_a_pair_is_read_as_second_minus_first(flat, composed):
    table = compare_folders(flat, composed)
    (pair,) = table["pairs"]
    first, second = table["runs"]
    top1 = pair["differences"]["top1"]
    assert top1["difference"] == pytest.approx(second["top1"] - first["top1"])
    assert top1["low"] <= top1["difference"] <= top1["high"]
    gained = pair["mcnemar"]["b_only"] - pair["mcnemar"]["a_only"]
    assert gained == round(84 * top1["difference"])
    assert [row["class"] for row in pair["per_class"]] == list(VALENCE.emotions)
    for row in pair["per_class"]:
        assert row["recall_delta"] == pytest.approx(row["recall_b"] - row["recall_a"])


def test_rows_in_another_order_are_the_same_rows(tmp_path, flat, composed):
    path = composed / "predictions.csv"
    before = compare_folders(flat, composed)
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)
    assert compare_folders(flat, composed) == before


def test_other_groupings_leave_group_figures_out_with_the_reason(tmp_path, flat):
    other = write_run(tmp_path / "other", mode="hierarchical", taxonomy=OTHER)
    table = compare_folders(flat, other)
    assert table["stages"] == table["routings"] == []
    assert [row["group_top1"] for row in table["runs"]] == [None, None]
    assert "other: positive = happy, surprise |" in omissions(table)["accuracy of the groups, stages and routings"]
    assert table["pairs"][0]["n"] == 84


def test_seeds_of_one_configuration_have_a_mean_and_a_deviation(tmp_path, composed):
    seeds = [write_run(tmp_path / f"flat-{seed}", seed=seed) for seed in (3, 4, 5)]
    again = write_run(tmp_path / "flat-3-again", seed=3)
    longer = write_run(tmp_path / "longer", seed=6, stage={"epochs": 9})
    table = compare_folders(*seeds, again, longer, composed)
    (repeat,) = table["repeats"]
    assert repeat["runs"] == ["flat-3", "flat-4", "flat-5"]
    assert repeat["seeds"] == [3, 4, 5]
    assert repeat["configuration"] == "flat, small, 2 epochs, balance none"
    values = [row["top1"] for row in table["runs"][:3]]
    assert repeat["top1"] == {
        "mean": pytest.approx(np.mean(values)),
        "std": pytest.approx(np.std(values, ddof=1)),
        "n": 3,
    }


def test_configurations_with_several_seeds_are_compared_by_their_means(tmp_path):
    flat = [write_run(tmp_path / "flat" / f"seed{seed}", seed=seed) for seed in (3, 4)]
    tree = [write_run(tmp_path / "tree" / f"seed{seed}", mode="hierarchical", seed=seed) for seed in (3, 4, 5)]
    table = compare_folders(*flat, *tree)
    assert [row["name"] for row in table["runs"]][1:3] == ["flat/seed4", "tree/seed3"]
    (pair,) = table["repeated_pairs"]
    assert pair["a"] == ["flat/seed3", "flat/seed4"]
    assert pair["b"] == ["tree/seed3", "tree/seed4", "tree/seed5"]
    values = [row["top1"] for row in table["runs"]]
    top1 = pair["differences"]["top1"]
    assert top1["difference"] == pytest.approx(np.mean(values[2:]) - np.mean(values[:2]))
    assert top1["low"] < top1["difference"] < top1["high"]
    write_comparison(tmp_path / "made", table)
    words = (tmp_path / "made" / "report.md").read_text()
    assert "hierarchical, taxonomy valence minus flat" in words.split("Over seeds")[1]


def test_a_cost_counts_what_first_weights_took(tmp_path, flat):
    for name, seconds in (("light", 20.0), ("lost", None)):
        folder = write_run(tmp_path / name, seed=2)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["cost"]["earlier"] = {"first/flat": seconds}
        write_json(folder / "metrics.json", metrics)
    table = compare_folders(flat, tmp_path / "light", tmp_path / "lost")
    assert [row["train_cpu_seconds"] for row in table["runs"]] == [5, 5, 5]
    assert [row["whole_cpu_seconds"] for row in table["runs"]] == [5, 25, 5]
    (warning,) = table["warnings"]
    assert warning.startswith("The cost of lost is at least the one shown: what first/flat took")
    write_comparison(tmp_path / "out", {**table, "command": "compare"})
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Whole CPU-seconds" in text
    assert "at least 5" in text


def test_ensembles_are_no_seeds_of_a_configuration(tmp_path):
    folders = [write_run(tmp_path / f"pool{seed}", seed=seed) for seed in (3, 4)]
    for folder in folders:
        record = json.loads((folder / "metrics.json").read_text())
        write_json(folder / "metrics.json", {**record, "mode": "ensemble", "members": ["a", "b"]})
    table = compare_folders(*folders)
    assert table["repeats"] == table["repeated_pairs"] == []


def test_single_seeds_are_marked_as_single(flat, composed):
    table = compare_folders(flat, composed)
    assert table["repeats"] == []
    assert "more than one seed" in omissions(table)["mean and deviation over seeds"]


def test_four_runs_give_every_pair_and_more_only_those_with_the_first(tmp_path):
    folders = [write_run(tmp_path / f"run{i}", seed=i) for i in range(5)]
    assert len(compare_folders(*folders[:4])["pairs"]) == 6
    table = compare_folders(*folders)
    assert [(pair["a"], pair["b"]) for pair in table["pairs"]] == [("run0", f"run{i}") for i in range(1, 5)]
    assert "pairs without run0" in omissions(table)


def test_a_reference_is_paired_with_each_and_no_other_pair_is_tested(tmp_path):
    runs = [Run(write_run(tmp_path / f"run{i}", seed=i)) for i in range(3)]
    table = compare(runs, resamples=20, with_first=True)
    assert [(pair["a"], pair["b"]) for pair in table["pairs"]] == [("run0", "run1"), ("run0", "run2")]
    assert "pairs without run0" in omissions(table)
    assert "pairs without run0" not in omissions(compare(runs[:2], resamples=20, with_first=True))


def test_runs_of_an_older_version_are_compared_with_all_figures(flat, composed):
    new = compare_folders(flat, composed)
    for folder in (flat, composed):
        record = json.loads((folder / "metrics.json").read_text())
        for scores in (*record["answers"].values(), *record["stages"].values()):
            del scores["weighted_f1"], scores["top3"], scores["intervals"]["weighted_f1"]
        write_json(folder / "metrics.json", record)
    old = compare_folders(flat, composed)
    assert old["runs"] == new["runs"]
    for key in ("routings", "stages"):
        assert [row["weighted_f1"] for row in old[key]] == pytest.approx([row["weighted_f1"] for row in new[key]])


def test_each_run_has_weighted_f1_and_the_likeliest_two_and_three(flat, composed):
    rows = compare_folders(flat, composed)["runs"]
    for row, folder in zip(rows, (flat, composed), strict=True):
        record = json.loads((folder / "metrics.json").read_text())
        headline = record["answers"][record["headline"]]
        for figure in ("weighted_f1", "top2", "top3"):
            assert row[figure] == pytest.approx(headline[figure])
        assert row["top1"] < row["top2"] < row["top3"]


def test_other_processors_are_named(flat, composed):
    assert "a comparison of CPU-seconds and latency" not in omissions(compare_folders(flat, composed))
    write_json(composed / "environment.json", {"processor": "Abacus 2"})
    why = omissions(compare_folders(flat, composed))["a comparison of CPU-seconds and latency"]
    assert "flat: Abacus 1; composed: Abacus 2" in why
    (flat / "environment.json").unlink()
    assert "flat: not recorded" in omissions(compare_folders(flat, composed))["a comparison of CPU-seconds and latency"]


def test_known_subjects_are_drawn_as_wholes_with_a_warning(flat, composed, caplog):
    plain = compare_folders(flat, composed)
    people = {"row": [f"face{i:03}" for i in range(84)], "subject": [f"S{i // 12}" for i in range(84)]}
    pd.DataFrame({**people, "emotion": TRUTH, "split": "test", "pixel_hash": "x"}).to_csv(
        flat / "splits.csv", index=False
    )
    with caplog.at_level(logging.WARNING, logger="fer_hierarchy"):
        table = compare_folders(flat, composed)
    assert "one person" in caplog.text
    assert table["test"]["subjects"] == 7
    assert table["runs"][0]["intervals"] != plain["runs"][0]["intervals"]
    assert table["pairs"][0]["differences"]["top1"]["low"] != plain["pairs"][0]["differences"]["top1"]["low"]


def test_folders_of_one_name_stay_apart(tmp_path):
    folders = [write_run(tmp_path / place / "run", seed=i) for i, place in enumerate(("here", "there"))]
    assert [row["name"] for row in compare_folders(*folders)["runs"]] == ["here/run", "there/run"]
    same = [write_run(tmp_path / place / "same" / "run", seed=i) for i, place in enumerate(("one", "two"))]
    assert [row["name"] for row in compare_folders(*same)["runs"]] == [str(folder) for folder in same]


def test_one_synthetic_run_makes_the_comparison_synthetic(flat, composed):
    record = json.loads((flat / "metrics.json").read_text())
    write_json(flat / "metrics.json", {**record, "synthetic": True})
    assert compare_folders(flat, composed)["synthetic"] is True


def test_a_comparison_of_full_test_splits_takes_seconds(tmp_path):
    truth = np.random.default_rng(0).choice(VALENCE.emotions, 3589)
    folders = [write_run(tmp_path / f"run{i}", truth=truth, seed=i) for i in range(4)]
    runs = [Run(folder) for folder in folders]
    start = time.process_time()
    compare(runs)
    assert time.process_time() - start < 10


def refused(message, *folders):
    with pytest.raises(UserError, match=message) as error:
        compare_folders(*folders)
    assert "\n" not in str(error.value)


def test_fewer_than_two_runs_and_a_run_twice_are_refused(flat):
    refused("got 1 run", flat)
    refused("flat is named twice", flat, flat.parent / "." / "flat")


def test_other_rows_are_refused_with_counts_and_an_example(tmp_path, flat):
    fewer = write_run(tmp_path / "fewer", truth=TRUTH[:80])
    refused(r"4 of 84 only in flat, as 'face080'; 0 of 80 only in fewer\)", flat, fewer)
    renamed = write_run(tmp_path / "renamed", rows=[f"other{i}" for i in range(84)])
    refused("84 of 84 only in renamed, as 'other0'", flat, renamed)


def test_other_labels_are_refused_with_an_example(tmp_path, flat):
    truth = TRUTH.copy()
    truth[5] = next(name for name in VALENCE.emotions if name != TRUTH[5])
    refused("1 of 84 true labels differ .row 'face005'", flat, write_run(tmp_path / "relabelled", truth=truth))


def test_other_classes_are_refused_by_name(tmp_path, flat):
    six = VALENCE.exclude(["disgust"])
    without = write_run(tmp_path / "without", taxonomy=six, truth=np.array(six.emotions * 14))
    refused("classes differ .angry, disgust, .* against angry, fear", flat, without)


def test_a_difference_that_rounds_to_nothing_has_no_minus():
    assert [signed(value) for value in (-0.0003, 0.0, -0.0006, None)] == ["+0.0", "+0.0", "-0.1", "-"]
