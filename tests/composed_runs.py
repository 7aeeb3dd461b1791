"""Finished runs without training: folders whose validation tables are made of numbers that a test chooses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.predictions import Predictions, prediction_table
from fer_hierarchy.hierarchy.config import TRAINING_MODES, DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.taxonomy import TAXONOMIES

SEVEN = TAXONOMIES["valence"].exclude(["contempt"])
COUNTS = {"angry": 400, "disgust": 40, "fear": 400, "happy": 700, "sad": 480, "surprise": 300, "neutral": 500}


def posterior(labels, rng, *, strength=1.6, classes=7):
    """(n, classes) calibrated probabilities: what Bayes' rule says of a mark of so many deviations, equal priors."""
    marks = rng.normal(size=(len(labels), classes))
    marks[np.arange(len(labels)), labels] += strength
    table = np.exp(strength * marks)
    return table / table.sum(axis=1, keepdims=True)


def faces(labels, *, taxonomy=SEVEN, subjects=None):
    """Rows of a manifest, one a label."""
    names = [taxonomy.emotions[label] for label in labels]
    people = "" if subjects is None else subjects
    ids = [f"face{i:04d}" for i in range(len(labels))]
    hashes = [f"hash{i:04d}" for i in range(len(labels))]
    return pd.DataFrame({"id": ids, "emotion": names, "source": "fer2013", "subject": people, "pixel_hash": hashes})


def write_run(folder, rows, answer, *, mode="hierarchical", taxonomy=SEVEN, gate=None, image_size=16, **facts):
    """A run folder as far as a composition reads it; its test predictions are a folder, so that reading them fails.

    Args:
        folder: Where to; its name is the run's.
        rows: What `faces` returns: the validation faces.
        answer: (n, emotions) probabilities.
        mode: "hierarchical" or "flat".
        taxonomy: The grouping.
        gate: (n, groups) probabilities of the gate where they are not those that `answer` implies.
        image_size: Pixels.
        facts: More keys of metrics.json.
    """
    folder = Path(folder)
    implied, specialists = HierarchicalClassifier(taxonomy).imply(answer)
    gate = implied if gate is None or mode == "flat" else gate
    said = HierarchicalClassifier(taxonomy).compose(gate, specialists)
    told = Predictions(
        taxonomy=taxonomy, headline="soft", rows=rows, probabilities=said, gate=gate, specialists=specialists
    )
    (folder / "stages").mkdir(parents=True)
    (folder / "predictions.csv").mkdir()
    prediction_table(told).to_csv(folder / "predictions_validation.csv", index=False)
    splits = rows.rename(columns={"id": "row"}).assign(split="validation")
    splits[["row", "emotion", "split", "source", "subject", "pixel_hash"]].to_csv(folder / "splits.csv", index=False)
    config = RunConfig(
        name=folder.name,
        mode=mode if mode in TRAINING_MODES else "hierarchical",
        framework="keras",
        data=DataConfig(data="somewhere", image_size=image_size, channels=1),
        stage=StageConfig(epochs=1),
    )
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    counts = {name: COUNTS[name] for name in taxonomy.emotions}
    record = {
        "format": 1,
        "run": folder.name,
        "mode": mode,
        "framework": "keras",
        "seed": 0,
        "synthetic": False,
        "taxonomy": taxonomy.to_dict(),
        "data": {"dataset": "fer2013", "fingerprint": "0" * 16, "counts": {"train": counts}, "limit": None},
        "cost": {},
        "training": {},
        "headline": "soft",
        "answers": {},
        "stages": {},
        **facts,
    }
    (folder / "metrics.json").write_text(json.dumps(record))
    return folder
