"""Predicting with every stage, composing and scoring; the stages here are tables of probabilities."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.classifiers.predictions import predict, prediction_table, score_predictions
from fer_hierarchy.hierarchy.config import EvaluationConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES, Taxonomy

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
APART = TAXONOMIES["valence-neutral-apart"].exclude(["contempt"])
ALONE = Taxonomy(name="alone", gate="gate", groups=(("up", ("happy",)), ("down", ("sad",)), ("none", ("neutral",))))
FACES = 42
PIXELS = np.arange(3 * FACES, dtype=np.uint8).reshape(-1, 1, 1, 1)
QUICK = EvaluationConfig(resamples=100)


class TableStage:
    """Answers each face by its pixel, so that a face asked for under a wrong row would be noticed."""

    def __init__(self, classes, seed, *, certain=None):
        self.table = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), len(PIXELS))
        if certain is not None:
            self.table = np.eye(len(classes))[certain]
        self.asked = []
        self.network = object()

    def outputs(self, pixels, rows):
        self.asked.append(np.asarray(rows))
        return self.table[pixels[rows].reshape(len(rows))]

    def calibrated(self, outputs):
        return outputs


def stages(taxonomy, mode, seed=0):
    return {name: TableStage(taxonomy.stage_classes(name), seed + i) for i, name in enumerate(taxonomy.stages(mode))}


def rows_of(taxonomy, *, subjects=False):
    """Every third row of the data set in a shuffled order: the index is no range."""
    index = np.random.default_rng(9).permutation(np.arange(1, 3 * FACES, 3))
    emotions = [taxonomy.emotions[i % len(taxonomy.emotions)] for i in range(FACES)]
    return pd.DataFrame(
        {
            "id": [f"face{i}" for i in index],
            "emotion": emotions,
            "source": "ck48",
            "subject": [f"S{i // 7}" for i in range(FACES)] if subjects else "",
        },
        index=index,
    )


def uniform(taxonomy):
    return np.full(len(taxonomy.emotions), 1 / len(taxonomy.emotions))


def judged(taxonomy, mode, config=QUICK, **kwargs):
    said = predict(stages(taxonomy, mode), taxonomy, PIXELS, rows_of(taxonomy, **kwargs))
    return said, score_predictions(said, uniform(taxonomy), config, seed=0)


@pytest.mark.parametrize("mode", ["hierarchical", "flat"])
@pytest.mark.parametrize("taxonomy", [SEVEN, APART, ALONE], ids=lambda t: t.name)
def test_every_answer_is_a_row_of_probabilities_in_the_faces_order(taxonomy, mode):
    said, _ = judged(taxonomy, mode)
    for table in (
        said.probabilities,
        said.gate,
        *said.specialists.values(),
        said.routed("hard"),
        said.routed("oracle"),
    ):
        assert len(table) == FACES
        np.testing.assert_allclose(table.sum(axis=1), 1)
    assert said.probabilities.shape[1] == len(taxonomy.emotions)
    assert set(said.specialists) == set(taxonomy.specialists)


def test_every_stage_is_asked_about_every_face():
    asked = stages(SEVEN, "hierarchical")
    rows = rows_of(SEVEN)
    predict(asked, SEVEN, PIXELS, rows)
    for stage in asked.values():
        (faces,) = stage.asked
        np.testing.assert_array_equal(faces, rows.index)


def test_the_soft_answer_multiplies_along_the_path():
    made = stages(SEVEN, "hierarchical")
    rows = rows_of(SEVEN)
    said = predict(made, SEVEN, PIXELS, rows)
    gate, positive = made["valence"].table[rows.index], made["positive"].table[rows.index]
    happy = said.probabilities[:, SEVEN.emotions.index("happy")]
    np.testing.assert_allclose(happy, gate[:, 0] * positive[:, SEVEN.members("positive").index("happy")])
    assert said.headline == "soft"


def test_a_flat_answer_stays_as_it_is_and_implies_a_gate():
    made = stages(SEVEN, "flat")
    rows = rows_of(SEVEN)
    said = predict(made, SEVEN, PIXELS, rows)
    np.testing.assert_allclose(said.probabilities, made["flat"].table[rows.index])
    positives = [SEVEN.emotions.index(e) for e in SEVEN.members("positive")]
    np.testing.assert_allclose(said.gate[:, 0], said.probabilities[:, positives].sum(axis=1))
    np.testing.assert_allclose(said.routed("soft"), said.probabilities)
    assert said.headline == "flat"


@pytest.mark.parametrize(
    ("mode", "tau", "names"),
    [
        ("hierarchical", 0.0, {"soft", "hard", "oracle"}),
        ("flat", 0.0, {"flat", "oracle"}),
        ("hierarchical", 1.0, {"soft", "hard", "oracle", "logit_adjusted"}),
        ("flat", 0.5, {"flat", "oracle", "logit_adjusted"}),
    ],
)
def test_which_answers_are_scored(mode, tau, names):
    _, record = judged(SEVEN, mode, EvaluationConfig(resamples=100, logit_adjustment=tau))
    assert set(record["answers"]) == names
    assert record["headline"] in names
    assert set(record["stages"]) == {"valence", "positive", "negative"}
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("taxonomy", [SEVEN, APART, ALONE], ids=lambda t: t.name)
def test_figures_are_of_the_faces_that_were_judged(taxonomy):
    said, record = judged(taxonomy, "hierarchical")
    truth = np.array([taxonomy.emotions.index(e) for e in said.rows["emotion"]])
    for name, answer in record["answers"].items():
        right = (said.routed(name).argmax(axis=1) == truth).mean()
        assert (answer["n"], answer["top1"]) == (FACES, pytest.approx(right))
    gate = record["stages"][taxonomy.gate]
    assert gate["top1"] == pytest.approx((said.gate.argmax(axis=1) == said.true_groups).mean())
    assert record["answers"]["soft"]["group"]["top1"] == gate["top1"]
    assert record["answers"]["hard"]["group"]["nll"] == pytest.approx(gate["nll"])
    assert record["answers"]["oracle"]["group"]["top1"] == 1


def test_a_specialist_is_scored_on_all_faces_of_its_group_whatever_the_gate_said():
    made = stages(SEVEN, "hierarchical")
    made["valence"] = TableStage(SEVEN.group_names, 0, certain=np.zeros(len(PIXELS), int))  # sends nobody to negative
    said = predict(made, SEVEN, PIXELS, rows_of(SEVEN))
    record = score_predictions(said, uniform(SEVEN), QUICK, seed=0)
    assert record["stages"]["negative"]["n"] == FACES * 4 // 7
    assert record["stages"]["positive"]["n"] == FACES * 3 // 7
    assert record["answers"]["hard"]["confusion"] == record["answers"]["soft"]["confusion"]


def test_a_certain_and_right_gate_makes_all_routings_equal():
    rows = rows_of(SEVEN)
    groups = np.zeros(len(PIXELS), int)
    groups[rows.index] = SEVEN.stage_labels("valence", rows["emotion"])
    made = stages(SEVEN, "hierarchical")
    made["valence"] = TableStage(SEVEN.group_names, 0, certain=groups)
    said = predict(made, SEVEN, PIXELS, rows)
    for routing in ("hard", "oracle"):
        np.testing.assert_allclose(said.routed(routing), said.probabilities)


def test_logit_adjustment_uses_the_train_prior():
    said = predict(stages(SEVEN, "flat"), SEVEN, PIXELS, rows_of(SEVEN))
    config = EvaluationConfig(resamples=100, logit_adjustment=1.0)
    even = score_predictions(said, uniform(SEVEN), config, seed=0)["answers"]
    assert even["logit_adjusted"]["confusion"] == even["flat"]["confusion"]
    rare = np.array([0.001 if e == "disgust" else 1.0 for e in SEVEN.emotions])
    adjusted = score_predictions(said, rare / rare.sum(), config, seed=0)["answers"]["logit_adjusted"]
    disgust = SEVEN.emotions.index("disgust")
    assert sum(row[disgust] for row in adjusted["confusion"]) > sum(row[disgust] for row in even["flat"]["confusion"])


def test_the_seed_decides_the_intervals():
    said, record = judged(SEVEN, "flat")
    again, other = (score_predictions(said, uniform(SEVEN), QUICK, seed=seed) for seed in (0, 1))
    assert again == record
    assert other["answers"]["flat"]["top1"] == record["answers"]["flat"]["top1"]
    assert other["answers"]["flat"]["intervals"] != record["answers"]["flat"]["intervals"]


def test_intervals_draw_whole_subjects_where_they_are_known():
    """All faces of half the subjects right, of the others wrong: the interval must be that of a few persons."""
    rows = rows_of(SEVEN, subjects=True)
    truth = np.array([SEVEN.emotions.index(e) for e in rows["emotion"]])
    certain = np.zeros(len(PIXELS), int)
    certain[rows.index] = np.where(np.arange(FACES) < FACES // 2, truth, (truth + 1) % 7)
    said = predict({"flat": TableStage(SEVEN.emotions, 0, certain=certain)}, SEVEN, PIXELS, rows)
    config = EvaluationConfig(resamples=1000)
    widths = []
    for known in (rows, rows.assign(subject="")):
        table = score_predictions(dataclasses.replace(said, rows=known), uniform(SEVEN), config, seed=0)["answers"][
            "flat"
        ]
        low, high = table["intervals"]["top1"]
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


@pytest.mark.parametrize("mode", ["hierarchical", "flat"])
def test_the_table_holds_a_row_a_face_with_every_probability(mode):
    said, _ = judged(SEVEN, mode)
    table = prediction_table(said)
    assert list(table.columns) == [
        *("row", "true", "predicted", "route"),
        *(f"p_{e}" for e in SEVEN.emotions),
        *("gate_positive", "gate_negative"),
        *(f"given_{e}" for e in SEVEN.emotions),
    ]
    assert table["row"].tolist() == said.rows["id"].tolist()
    assert table["true"].tolist() == said.rows["emotion"].tolist()
    p = table[[f"p_{e}" for e in SEVEN.emotions]].to_numpy()
    np.testing.assert_allclose(p, said.probabilities, atol=1e-6)
    assert table["predicted"].tolist() == [SEVEN.emotions[i] for i in p.argmax(axis=1)]
    gates = table[["gate_positive", "gate_negative"]].to_numpy()
    assert table["route"].tolist() == [SEVEN.group_names[i] for i in gates.argmax(axis=1)]
    given = table[[f"given_{e}" for e in SEVEN.emotions]].to_numpy()
    np.testing.assert_allclose(gates[:, SEVEN.group_index] * given, p, atol=3e-6)


def test_the_table_of_groups_of_one_emotion_gives_that_emotion_for_certain():
    said, _ = judged(APART, "hierarchical")
    table = prediction_table(said)
    assert (table["given_neutral"] == 1).all()
    np.testing.assert_allclose(table["p_neutral"], table["gate_neutral"])
    assert list(prediction_table(judged(ALONE, "hierarchical")[0]).filter(like="given_").mean()) == [1, 1, 1]


def test_emotions_that_no_judged_face_has_do_not_stop_the_judging():
    rows = rows_of(SEVEN)
    rows = rows[rows["emotion"].isin(["happy", "surprise"])]
    record = score_predictions(
        predict(stages(SEVEN, "hierarchical"), SEVEN, PIXELS, rows), uniform(SEVEN), QUICK, seed=0
    )
    assert set(record["stages"]) == {"valence", "positive"}
    assert record["answers"]["soft"]["n"] == len(rows)
    json.dumps(record, allow_nan=False)


def test_a_stage_that_gives_no_probabilities_is_refused():
    made = stages(SEVEN, "hierarchical")
    made["valence"].table *= 100
    with pytest.raises(UserError, match="sums to 100"):
        predict(made, SEVEN, PIXELS, rows_of(SEVEN))
