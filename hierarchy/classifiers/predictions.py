"""From trained stages to figures: every stage predicts every face, then the predictions are composed and scored."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.stage import Stage, predict_stages
from fer_hierarchy.hierarchy.config import EvaluationConfig
from fer_hierarchy.hierarchy.data.manifest import people
from fer_hierarchy.hierarchy.evaluation import metrics
from fer_hierarchy.hierarchy.evaluation.calibration import logit_adjust
from fer_hierarchy.hierarchy.evaluation.significance import Draw, mcnemar, paired_bootstrap
from fer_hierarchy.hierarchy.taxonomy import FLAT, POOLED, Taxonomy


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of all stages on the same n faces.

    Attributes:
        taxonomy: The grouping, which gives every column order.
        headline: "soft", "flat" or "pooled": the prediction that counts.
        rows: The faces' manifest rows.
        probabilities: (n, emotions) float64 P(emotion|x) of the headline.
        gate: (n, groups) float64; implied by summing for a flat model.
        specialists: Group -> (n, members) float64; implied by renormalising for a flat model.
    """

    taxonomy: Taxonomy
    headline: str
    rows: pd.DataFrame
    probabilities: np.ndarray
    gate: np.ndarray
    specialists: Mapping[str, np.ndarray]

    @property
    def true_groups(self) -> np.ndarray:
        """(n,) index of each face's true group."""
        return np.array(self.taxonomy.stage_labels(self.taxonomy.gate, self.rows["emotion"]))

    def routed(self, routing: str) -> np.ndarray:
        """(n, emotions) probabilities under "soft", "hard" or "oracle" routing."""
        groups = self.true_groups if routing == "oracle" else None
        composer = HierarchicalClassifier(self.taxonomy)
        return composer.compose(self.gate, self.specialists, routing, true_groups=groups)


def predict(stages: Mapping[str, Stage], taxonomy: Taxonomy, pixels: np.ndarray, rows: pd.DataFrame) -> Predictions:
    """Predict every face of `rows` by every stage.

    Args:
        stages: All stages of a run by name.
        taxonomy: The run's grouping.
        pixels: (n, height, width, channels) uint8; the index of `rows` points into it.
        rows: Manifest rows.
    """
    composer = HierarchicalClassifier(taxonomy)
    stage_predictions = predict_stages(stages, pixels, rows.index.to_numpy())
    if FLAT in stage_predictions:
        probabilities = stage_predictions[FLAT]
        gate, specialists = composer.imply(probabilities)
    else:
        gate = stage_predictions[taxonomy.gate]
        specialists = {group: stage_predictions[group] for group in taxonomy.specialists}
        probabilities = composer.compose(gate, specialists, "soft")
    headline = FLAT if FLAT in stage_predictions else "soft"
    return Predictions(
        taxonomy=taxonomy, headline=headline, rows=rows, probabilities=probabilities, gate=gate, specialists=specialists
    )


def score_predictions(
    predictions: Predictions,
    prior: np.ndarray,
    config: EvaluationConfig,
    *,
    seed: int,
    further: Mapping[str, np.ndarray] | None = None,
) -> dict:
    """Scores of every prediction and every stage, as metrics.json holds them.

    Args:
        predictions: On the test faces.
        prior: (emotions,) share of each emotion among the train rows, for logit adjustment.
        config: Resamples and the strength of the adjustment.
        seed: Of the bootstrap.
        further: More predictions of the same faces by name, each (n, emotions); they are paired with the headline.

    Returns:
        {"headline", "answers", "stages"}, and with `further` {"paired"}: name -> difference from the headline.
    """
    taxonomy, rows = predictions.taxonomy, predictions.rows
    emotions = rows["emotion"].to_numpy(str)
    draw: Draw = {"resamples": config.resamples, "seed": seed, "groups": subjects(rows)}
    routings = ("oracle",) if predictions.headline in (FLAT, POOLED) else ("hard", "oracle")
    answers = {predictions.headline: predictions.probabilities, **{name: predictions.routed(name) for name in routings}}
    if config.logit_adjustment:
        answers["logit_adjusted"] = logit_adjust(predictions.probabilities, prior, config.logit_adjustment)
    answers |= further or {}
    gates = {predictions.headline: predictions.gate, "hard": predictions.gate}
    paired = {name: _paired(predictions, table, draw) for name, table in (further or {}).items()}
    return {
        "headline": predictions.headline,
        "answers": {
            name: metrics.emotion_scores(emotions, table, taxonomy, gate=gates.get(name), **draw)
            for name, table in answers.items()
        },
        "stages": metrics.stage_scores(emotions, predictions.gate, predictions.specialists, taxonomy, **draw),
        **({"paired": paired} if paired else {}),
    }


def _paired(predictions: Predictions, table: np.ndarray, draw: Draw) -> dict:
    """Another prediction minus the headline on the same faces, with McNemar's test of their disagreements."""
    emotions = predictions.taxonomy.emotions
    labels = metrics.class_indices(predictions.rows["emotion"].to_numpy(str), emotions)
    first, second = predictions.probabilities.argmax(axis=1), table.argmax(axis=1)
    return {
        "against": predictions.headline,
        "differences": paired_bootstrap(labels, first, second, len(emotions), **draw),
        "mcnemar": mcnemar(first == labels, second == labels),
    }


def validation_summary(predictions: Predictions) -> dict:
    """The scores on validation faces that choices may be made on."""
    emotions = predictions.taxonomy.emotions
    table = metrics.scores(
        predictions.rows["emotion"].to_numpy(str), predictions.probabilities, emotions, resamples=100
    )
    return {name: table[name] for name in ("n", "top1", "balanced_accuracy", "macro_f1", "nll")}


def prediction_table(predictions: Predictions) -> pd.DataFrame:
    """predictions.csv: a row a face with true and predicted emotion, route and every probability (six digits)."""
    taxonomy = predictions.taxonomy
    given = HierarchicalClassifier(taxonomy).conditional(predictions.specialists, rows=len(predictions.rows))
    emotions, groups = np.array(taxonomy.emotions), np.array(taxonomy.group_names)
    table = pd.DataFrame(
        {
            "row": predictions.rows["id"].to_numpy(),
            "true": predictions.rows["emotion"].to_numpy(),
            "predicted": emotions[predictions.probabilities.argmax(axis=1)],
            "route": groups[predictions.gate.argmax(axis=1)],
        }
    )
    blocks = (
        ("p_", emotions, predictions.probabilities),
        ("gate_", groups, predictions.gate),
        ("given_", emotions, given),
    )
    for prefix, names, values in blocks:
        table[[prefix + name for name in names]] = values.round(6)
    return table


def subjects(rows: pd.DataFrame) -> np.ndarray | None:
    """Subject of each face, so that the bootstrap draws whole persons; None where no subject is known.

    Args:
        rows: n faces with `id`, `source` and `subject`.

    Returns:
        (n,) names; a face without a subject has its own id.
    """
    if not (rows["subject"] != "").any():
        return None
    return people(rows, "id").to_numpy(object)
