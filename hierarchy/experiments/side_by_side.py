"""Side by side: what every run says of the same face, as a table of all test faces and as a sample to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

PER_EMOTION = 2  # faces of each emotion in a sample
_DIGITS = 4


@dataclass(frozen=True)
class Opinion:
    """What one run says of the faces.

    Attributes:
        name: The run's name.
        rows: Its predictions.csv by row id: `true`, `predicted` and `p_<emotion>`; all runs in the same order of faces.
    """

    name: str
    rows: pd.DataFrame


def side_by_side(opinions: Sequence[Opinion], classes: Sequence[str]) -> pd.DataFrame:
    """One row a face: row, true, then `<run>: predicted` and `<run>: p_<emotion>` of each run.

    Args:
        opinions: Of the same faces in the same order.
        classes: Emotions in class order.
    """
    first = opinions[0].rows
    table = {"row": first.index.to_numpy(), "true": first["true"].to_numpy()}
    for opinion in opinions:
        for column in ("predicted", *(f"p_{emotion}" for emotion in classes)):
            table[f"{opinion.name}: {column}"] = opinion.rows[column].to_numpy()
    return pd.DataFrame(table)


def sample(
    opinions: Sequence[Opinion], classes: Sequence[str], *, seed: int, per_emotion: int = PER_EMOTION
) -> list[dict[str, Any]]:
    """Some faces of each emotion, drawn at random, with every run's answer and probabilities.

    Args:
        opinions: Of the same faces in the same order.
        classes: Emotions in class order.
        seed: Of the draw; the same faces for the same seed, whatever the runs say of them.
        per_emotion: Faces of each emotion, fewer where there are fewer.

    Returns:
        One dict a face, in class order: row, true, and runs: name, answer, probabilities in class order.
    """
    true = opinions[0].rows["true"]
    draw = np.random.default_rng(seed)
    chosen = []
    for emotion in classes:
        ids = sorted(true.index[true == emotion])
        chosen += sorted(draw.choice(ids, min(per_emotion, len(ids)), replace=False).tolist()) if ids else []
    columns = [f"p_{emotion}" for emotion in classes]
    return [
        {
            "row": row,
            "true": true[row],
            "runs": [
                {
                    "run": opinion.name,
                    "answer": opinion.rows["predicted"][row],
                    "probabilities": opinion.rows.loc[row, columns].astype(float).round(_DIGITS).tolist(),
                }
                for opinion in opinions
            ],
        }
        for row in chosen
    ]
