import json

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.experiments.comparison import aligned, compare, sample, side_by_side
from fer_hierarchy.hierarchy.experiments.report import write_comparison
from fer_hierarchy.hierarchy.runs.run import Run
from tests.hierarchy.experiments.test_comparison import TRUTH, VALENCE, write_run

EMOTIONS = VALENCE.emotions


@pytest.fixture
def runs(tmp_path):
    return [Run(write_run(tmp_path / name, seed=seed)) for seed, name in enumerate(("first", "second"))]


def faces_of(ids):
    return np.random.default_rng(len(ids)).integers(0, 256, (len(ids), 48, 48, 1), dtype=np.uint8)


def test_the_table_holds_every_face_with_the_predictions_and_probabilities_of_every_run(runs):
    table = side_by_side(aligned(runs))
    per_run = ["predicted", *(f"p_{emotion}" for emotion in EMOTIONS)]
    assert table.columns.tolist() == ["row", "true", *(f"{r}: {c}" for r in ("first", "second") for c in per_run)]
    assert len(table) == len(TRUTH)
    for run in runs:
        saved = run.predictions.set_index("row").loc[table["row"]]
        for column in per_run:
            assert table[f"{run.name}: {column}"].tolist() == saved[column].tolist()


def test_rows_in_another_order_stay_beside_each_other(runs):
    path = runs[1].folder / "predictions.csv"
    before = side_by_side(aligned(runs))
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)
    pd.testing.assert_frame_equal(side_by_side(aligned([runs[0], Run(runs[1].folder)])), before)


def test_a_sample_shows_two_faces_of_each_emotion_and_the_predictions_of_each_run(runs):
    shown = sample(aligned(runs), seed=3)
    assert [face["true"] for face in shown] == [emotion for emotion in EMOTIONS for _ in range(2)]
    assert len({face["row"] for face in shown}) == 14
    for face in shown:
        assert [entry["run"] for entry in face["runs"]] == ["first", "second"]
        for entry, run in zip(face["runs"], runs, strict=True):
            saved = run.predictions.set_index("row").loc[face["row"]]
            assert (saved["true"], saved["predicted"]) == (face["true"], entry["answer"])
            assert entry["probabilities"] == pytest.approx([saved[f"p_{e}"] for e in EMOTIONS], abs=1e-4)
    json.dumps(shown, allow_nan=False)


def test_the_seed_alone_decides_which_faces_are_shown(runs):
    def rows(order, seed):
        return [face["row"] for face in sample(aligned(order), seed=seed)]

    assert rows(runs, 1) == rows(runs[::-1], 1) != rows(runs, 2)


def test_an_emotion_of_one_face_is_shown_once_and_an_absent_one_not_at_all(tmp_path):
    shown = sample(aligned(few_faces(tmp_path)), seed=0)
    assert [face["true"] for face in shown] == ["angry", "happy", "happy"]


def few_faces(tmp_path):
    truth = np.array(["angry", *["happy"] * 5])
    return [Run(write_run(tmp_path / f"few{seed}", truth=truth, seed=seed)) for seed in (0, 1)]


def test_the_report_marks_predictions_and_has_a_table_of_all_faces(drawn, runs, tmp_path):
    write_comparison(tmp_path / "pair", compare(runs, resamples=20), runs, faces=faces_of)
    text = (tmp_path / "pair" / "report.md").read_text()
    assert len(pd.read_csv(tmp_path / "pair" / "side_by_side.csv")) == len(TRUTH)
    part = text[text.index("## Side by side") : text.index("## How to repeat this")]
    assert "side_by_side.csv has all faces" in part
    assert part.count("✓") + part.count("✗") - 7 * 2 == 14 * 2, "one mark a face and run, and two in each caption"
    assert "not at hand" not in part
    for emotion in EMOTIONS:
        assert (tmp_path / "pair" / "figures" / f"side_by_side_{emotion}.png").is_file()


def test_without_pictures_the_report_shows_ids_and_a_note(tmp_path):
    runs = few_faces(tmp_path)
    compared = compare(runs, resamples=20)
    write_comparison(tmp_path / "pair", compared, runs, faces=lambda ids: None)
    text = (tmp_path / "pair" / "report.md").read_text()
    assert "The faces themselves are not at hand" in text
    assert f"| {compared['side_by_side'][0]['row']} |" in text
