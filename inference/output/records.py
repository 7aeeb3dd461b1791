"""One face's answer as a row: columns that a table, a csv file and a program read alike."""

from typing import Any

import numpy as np

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.model import Answers, Metadata

UNCERTAIN = "uncertain"
DIGITS = 6  # of a probability in a file, as in a run's predictions.csv


def answer_columns(facts: Metadata) -> list[str]:
    """Names of what `answer_record` gives, in order."""
    taxonomy = facts.taxonomy
    emotions, groups = (f"p_{name}" for name in taxonomy.emotions), (f"gate_{name}" for name in taxonomy.group_names)
    return ["emotion", "probability", taxonomy.gate, "route", "entropy", *emotions, *groups]


def face_record(face: Face, said: Answers, row: int, facts: Metadata, *, abstain: float = 0.0) -> dict[str, Any]:
    """Where a face is and what it expresses.

    Args:
        face: The face.
        said: What the model says of some faces.
        row: Which of them this one is.
        facts: Of the model.
        abstain: Probability below which the answer is `UNCERTAIN`.
    """
    left, top, width, height = face.box
    box = {"left": left, "top": top, "width": width, "height": height, "score": face.score}
    return {**box, **answer_record(said, row, facts, abstain=abstain)}


def answer_record(said: Answers, row: int, facts: Metadata, *, abstain: float = 0.0) -> dict[str, Any]:
    """The answer alone: emotion, its probability and group, the gate's route, entropy in bits, all probabilities."""
    taxonomy = facts.taxonomy
    table, gate = said.probabilities[row], said.gate[row]
    best = int(table.argmax())
    named = taxonomy.emotions[best]
    values = [round(float(value), DIGITS) for value in (*table, *gate)]
    columns = answer_columns(facts)
    return dict(
        zip(
            columns,
            [
                named if table[best] >= abstain else UNCERTAIN,
                round(float(table[best]), DIGITS),
                taxonomy.group_of(named),
                taxonomy.group_names[int(gate.argmax())],
                round(entropy(table), DIGITS),
                *values,
            ],
            strict=True,
        )
    )


def entropy(table: np.ndarray) -> float:
    """Entropy of one row of probabilities in bits: 0 is certain, log2 of the number of emotions knows nothing."""
    some = table[table > 0]
    return float(-(some * np.log2(some)).sum())
