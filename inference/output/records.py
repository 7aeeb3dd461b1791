"""Predictions as rows: one a face and model, whose columns a table, a csv file and a program read alike."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_hierarchy.hierarchy.evaluation.conformal import Promise, node_level, node_name
from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.pose import MEASURES, measures
from fer_hierarchy.inference.model import Metadata, gate_of
from fer_hierarchy.inference.output.rows import POINTS
from fer_hierarchy.inference.settings import FaceConfig

if TYPE_CHECKING:
    from fer_hierarchy.inference.predictor import Predictor

Row = dict[str, Any]

UNCERTAIN = "uncertain"
GUARANTEED = ("answer", "level", "set")
BOX = ("left", "top", "width", "height")

_DIGITS = 6  # of a probability in a file, as in a run's predictions.csv
_MEASURED_DIGITS = 2  # of a degree, of a share of an eye's width, of a pixel


def prediction_columns(facts: Metadata, promise: Promise | None = None) -> list[str]:
    """Columns of one model: emotion, its probability and group, the gate's route, entropy, all probabilities.

    With a promise, in front of the probabilities: what is guaranteed (an emotion, a group or "any"), at which level,
    and the set of emotions.
    """
    taxonomy = facts.taxonomy
    emotions, groups = (f"p_{name}" for name in taxonomy.emotions), (f"gate_{name}" for name in taxonomy.group_names)
    guaranteed = GUARANTEED if promise else ()
    return ["emotion", "probability", taxonomy.gate, "route", "entropy", *guaranteed, *emotions, *groups]


def face_columns(settings: FaceConfig) -> list[str]:
    """Columns of a face, whatever the model: its box, the detector's score, what its landmarks measure."""
    return [*BOX, "score", *(MEASURES if settings.landmarks else ())]


def columns_of(predictors: "Sequence[Predictor]", *, points: bool = False) -> list[str]:
    """Columns of a file: where a face is, what each model predicts, and what went wrong.

    Args:
        predictors: The models; the first one finds the faces.
        points: Whether the file can hold the points of a face, where those are found.
    """
    predicted = dict.fromkeys(
        name for predictor in predictors for name in prediction_columns(predictor.facts, predictor.promise)
    )
    marks = dict.fromkeys(name for predictor in predictors for name in predictor.marks)
    settings = predictors[0].faces
    first = ["file", "frame", "time", "track", "faces", "face", *face_columns(settings), "run", *marks]
    return [*first, *predicted, "reason", *([POINTS] if points and settings.landmarks else ()), "error"]


def face_rows(
    faces: Sequence[Face],
    table: np.ndarray,
    facts: Metadata,
    settings: FaceConfig,
    *,
    abstain: float = 0.0,
    promise: Promise | None = None,
) -> Iterator[Row]:
    """Where each face is and what it expresses.

    Args:
        faces: Some faces.
        table: (faces, emotions) one model's probabilities.
        facts: Of the model.
        settings: Whether landmarks were found, and how far a face may be turned.
        abstain: Probability below which the emotion is `UNCERTAIN`.
        promise: What is to be guaranteed.
    """
    taxonomy, columns = facts.taxonomy, prediction_columns(facts, promise)
    guaranteed = _guaranteed(table, facts, promise)
    for face, shares, gate, certain in zip(faces, table, gate_of(table, taxonomy), guaranteed, strict=True):
        emotion, probability = taxonomy.emotions[int(shares.argmax())], shares.max()
        measured = _measured(face) if settings.landmarks else {}
        reason = _too_far(measured, settings) or (f"probability below {abstain:g}" if probability < abstain else None)
        values = [
            UNCERTAIN if reason else emotion,
            round(float(probability), _DIGITS),
            taxonomy.group_of(emotion),
            taxonomy.group_names[int(gate.argmax())],
            round(_entropy(shares), _DIGITS),
            *certain,
            *(round(float(value), _DIGITS) for value in (*shares, *gate)),
        ]
        place = dict(zip([*BOX, "score"], [*face.box, face.score], strict=True))
        yield {**place, **measured, **dict(zip(columns, values, strict=True)), "reason": reason}


def _guaranteed(table: np.ndarray, facts: Metadata, promise: Promise | None) -> list[tuple[str, ...]]:
    """For each face the values of `GUARANTEED`; nothing without a promise."""
    if promise is None or facts.guarantee is None:
        return [()] * len(table)
    taxonomy = facts.taxonomy
    nodes, sets = (find(table, taxonomy, promise) for find in (facts.guarantee.nodes, facts.guarantee.sets))
    return [
        (node_name(node, taxonomy), node_level(node, taxonomy), " ".join(compress(taxonomy.emotions, held)))
        for node, held in zip(nodes, sets, strict=True)
    ]


def _measured(face: Face) -> Row:
    """What the landmarks of a face measure, and the points themselves; None where they are unknown."""
    if face.mesh is None:
        return dict.fromkeys([*MEASURES, POINTS])
    rounded = {name: round(value, _MEASURED_DIGITS) for name, value in measures(face.mesh).items()}
    return {**rounded, POINTS: face.mesh.round(_MEASURED_DIGITS)}


def _too_far(measured: Row, settings: FaceConfig) -> str | None:
    """Why a face is turned too far away to be predicted; None where it is not."""
    if settings.max_yaw is None:
        return None
    if measured["yaw"] is None:
        return "no landmarks found"
    turned = abs(measured["yaw"])
    return f"turned away by {turned:.0f} degrees" if turned > settings.max_yaw else None


def rows_of_faces(
    faces: Sequence[Face], tables: Sequence[np.ndarray], predictors: "Sequence[Predictor]", *, abstain: float
) -> list[tuple[Row, ...]]:
    """For each face of a picture a row a model, with `face` (its number in the picture, from 1), `run` and `marks`.

    Args:
        faces: Those of the picture.
        tables: For each model (faces, emotions) probabilities.
        predictors: The models.
        abstain: As for `face_rows`.
    """
    by_model = [
        [
            {"face": number, "run": predictor.name, **predictor.marks, **row}
            for number, row in enumerate(
                face_rows(faces, own, predictor.facts, predictor.faces, abstain=abstain, promise=predictor.promise),
                start=1,
            )
        ]
        for predictor, own in zip(predictors, tables, strict=True)
    ]
    return list(zip(*by_model, strict=True))


def rows_of_file(
    name: str, rows: Sequence[Row], predictors: "Sequence[Predictor]", *, error: str | None = None
) -> list[Row]:
    """All rows of a picture or video with all columns; where it has no face, a row a model without one.

    Args:
        name: Of the file.
        rows: Those of its faces.
        predictors: The models.
        error: What went wrong, for the last row, or for all rows where there is no face.
    """
    blank = {**dict.fromkeys(columns_of(predictors, points=True)), "file": name}
    if not rows:
        return [{**blank, "faces": 0, "run": predictor.name, "error": error} for predictor in predictors]
    count = len(rows) // len(predictors)
    return [{**blank, **row, "faces": count} for row in rows[:-1]] + [
        {**blank, **rows[-1], "faces": count, "error": error}
    ]


def _entropy(shares: np.ndarray) -> float:
    """Entropy of probabilities (n,) in bits: 0 is certain, log2(n) knows nothing."""
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())
