"""The class prior of a trained classifier's probabilities, and what its validation faces tell of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.classifiers.trunk import level_prior
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import fit_biases
from fer_hierarchy.hierarchy.evaluation.label_shift import ValidationFacts
from fer_hierarchy.hierarchy.evaluation.resting import mean_logs
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy

NEUTRAL = "neutral"


def prior_of(stages: Mapping[str, Stage], taxonomy: Taxonomy, train: Mapping[str, int]) -> np.ndarray:
    """The shares of the emotions that a run's composed probabilities are made for.

    They are those of the real train faces, also where training showed all classes alike (oversampling, a sampler, class
    weights, a balanced loss): that is undone by the stage's prior correction. A stage without one
    (`--no-prior-correction`) has the level shares that it was trained with. Those of a hierarchy are products.

    Args:
        stages: By name, as `Stage.calibrate` left them.
        taxonomy: The run's grouping.
        train: Emotion -> train faces before any balancing.

    Returns:
        (emotions,) float64 that sums to 1.

    Raises:
        UserError: An emotion without train faces.
    """
    counts = np.array([train.get(emotion, 0) for emotion in taxonomy.emotions], dtype=np.float64)
    if not counts.all():
        raise UserError(f"train prior: got no train face of {taxonomy.emotions[int(counts.argmin())]!r}")
    if FLAT in stages:
        return _stage_prior(stages[FLAT], taxonomy, counts)
    prior = _stage_prior(stages[taxonomy.gate], taxonomy, counts)[list(taxonomy.group_index)]
    for group in taxonomy.specialists:
        places = [taxonomy.emotions.index(emotion) for emotion in taxonomy.members(group)]
        prior[places] *= _stage_prior(stages[group], taxonomy, counts)
    return prior / prior.sum()


def _stage_prior(stage: Stage, taxonomy: Taxonomy, counts: np.ndarray) -> np.ndarray:
    """Shares of one stage's classes."""
    if stage.record.get("levels_prior") and stage.log_prior_shift is None:
        shares = np.ones(len(stage.classes)) if stage.columns is None else level_prior(stage.name, taxonomy)
    else:
        labels = np.array(taxonomy.stage_labels(stage.name, taxonomy.emotions))
        shares = np.bincount(labels[labels >= 0], weights=counts[labels >= 0], minlength=len(stage.classes))
    return shares / shares.sum()


def validation_facts(table: pd.DataFrame, taxonomy: Taxonomy) -> ValidationFacts:
    """What the validation faces of a run tell.

    Args:
        table: Its predictions of them, as `Run.validation_predictions`.
        taxonomy: Its grouping.

    Raises:
        UserError: An emotion without a validation face.
    """
    labels = pd.Categorical(table["true"], categories=taxonomy.emotions).codes
    probabilities = table[[f"p_{emotion}" for emotion in taxonomy.emotions]].to_numpy(float)
    slope, biases = fit_biases(probabilities, labels)
    return ValidationFacts(
        counts=tuple(np.bincount(labels, minlength=len(taxonomy.emotions)).tolist()),
        slope=slope,
        biases=tuple(biases.tolist()),
        neutral=tuple(mean_logs(probabilities[table["true"] == NEUTRAL]).tolist())
        if NEUTRAL in taxonomy.emotions
        else None,
    )
