"""Faces with what a run predicts for them and a heat map of each stage, as numbers and as tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.predictions import Predictions, predict
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.grad_cam import MapLayer, grad_cam, map_layers

ALL = "all"  # in regions.csv: whatever the stage predicts
THIRDS = ("upper", "middle", "lower")


@dataclass(frozen=True, kw_only=True)
class StageHeat:
    """The heat maps of one stage.

    Attributes:
        stage: Its name.
        classes: Its class order.
        faces: (m,) int64 positions of the faces that it predicts; a specialist predicts those of its group only.
        table: (m, classes) float64 probabilities; each map is about the highest.
        maps: Modality -> (m, rows, columns) float32 as `grad_cam` gives them.
    """

    stage: str
    classes: tuple[str, ...]
    faces: np.ndarray
    table: np.ndarray
    maps: Mapping[str, np.ndarray]

    @property
    def predicted(self) -> np.ndarray:
        """(m,) names of the classes that the maps are about."""
        return np.array(self.classes, dtype=object)[self.table.argmax(axis=1)]

    @property
    def confidence(self) -> np.ndarray:
        """(m,) float64 probabilities of these classes."""
        return self.table.max(axis=1)

    def at(self, face: int) -> int | None:
        """The place of a face in `faces`; None where the stage does not predict it."""
        found = np.flatnonzero(self.faces == face)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, kw_only=True)
class HeatMaps:
    """Faces, the run's predictions and the stages' heat maps.

    Attributes:
        pixels: (n, height, width, planes) uint8, uint16 where the last plane is depth.
        rows: n rows with `id` and `emotion`, which is "" where nobody knows it; RangeIndex.
        taxonomy: The run's grouping.
        table: (n, emotions) float64 probabilities of the run.
        stages: The gate first, or the flat stage alone.
    """

    pixels: np.ndarray
    rows: pd.DataFrame
    taxonomy: Taxonomy
    table: np.ndarray
    stages: tuple[StageHeat, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the faces."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def predicted(self) -> np.ndarray:
        """(n,) emotions that the run predicts."""
        return np.array(self.taxonomy.emotions, dtype=object)[self.table.argmax(axis=1)]

    @property
    def confidence(self) -> np.ndarray:
        """(n,) float64 probabilities of these emotions."""
        return self.table.max(axis=1)

    def truth(self, stage: str) -> np.ndarray:
        """(n,) name of the class that each face has in a stage; "" where it has none, or where nobody knows."""
        names = ("", *self.taxonomy.stage_classes(stage))
        return np.array(names, dtype=object)[np.array(self.taxonomy.stage_labels(stage, self.rows["emotion"])) + 1]


def map_layers_of(stages: Mapping[str, Stage]) -> dict[str, dict[str, MapLayer]]:
    """Stage -> modality -> the last map of its network.

    Raises:
        UserError: A stage's network has no map.
    """
    found = {}
    for name, stage in stages.items():
        try:
            found[name] = map_layers(stage.core)
        except ValueError as error:
            raise UserError(f"stage {name}: {error}") from error
    return found


def explain_faces(stages: Mapping[str, Stage], taxonomy: Taxonomy, pixels: np.ndarray, rows: pd.DataFrame) -> HeatMaps:
    """Predict faces with a run, and draw up the heat maps of each stage that decides.

    Args:
        stages: All stages of the run by name.
        taxonomy: The run's grouping.
        pixels: (n, height, width, planes).
        rows: n rows with `id` and `emotion`.

    Raises:
        UserError: A stage's network has no map.
    """
    layers, rows = map_layers_of(stages), rows.reset_index(drop=True)
    predictions = predict(stages, taxonomy, pixels, rows)
    heats = []
    for name, faces, table in _deciding(predictions):
        outputs = table.argmax(axis=1) + stages[name].first_output
        maps = grad_cam(stages[name].core, pixels[faces], outputs, layers[name])
        heats.append(StageHeat(stage=name, classes=taxonomy.stage_classes(name), faces=faces, table=table, maps=maps))
    return HeatMaps(pixels=pixels, rows=rows, taxonomy=taxonomy, table=predictions.probabilities, stages=tuple(heats))


def _deciding(predictions: Predictions) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each stage with the faces that it decides, and its probabilities of them.

    The specialist that decides is the one of the group that the composed prediction is in: soft composition may
    overrule the gate, and then the other specialist has the emotion.
    """
    everybody = np.arange(len(predictions.rows))
    if predictions.headline == FLAT:
        yield FLAT, everybody, predictions.probabilities
        return
    taxonomy = predictions.taxonomy
    yield taxonomy.gate, everybody, predictions.gate
    groups = np.array(taxonomy.group_index)[predictions.probabilities.argmax(axis=1)]
    for group in taxonomy.specialists:
        faces = np.flatnonzero(groups == taxonomy.group_names.index(group))
        yield group, faces, predictions.specialists[group][faces]


def map_table(explained: HeatMaps) -> pd.DataFrame:
    """A row a map: face, true emotion, the run's prediction, the stage and its own, and where the heat lies.

    Returns:
        Columns row, emotion, answer, stage, says, probability, modality, upper, middle, lower; the last three are
        shares of the heat, empty where a map is zero everywhere.
    """
    parts = []
    for heat in explained.stages:
        faces = explained.rows.iloc[heat.faces]
        for modality, maps in heat.maps.items():
            columns = {
                "row": faces["id"].to_numpy(object),
                "emotion": faces["emotion"].to_numpy(object),
                "answer": explained.predicted[heat.faces],
                "stage": heat.stage,
                "says": heat.predicted,
                "probability": heat.confidence.round(6),
                "modality": modality,
            }
            shares = np.array([thirds(enlarged(one, explained.size)) for one in maps]).reshape(-1, len(THIRDS))
            columns |= dict(zip(THIRDS, shares.round(6).T, strict=True))
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def region_table(maps: pd.DataFrame, explained: HeatMaps) -> pd.DataFrame:
    """How the heat of each stage, modality and predicted class is shared out over the picture's thirds.

    Args:
        maps: What `map_table` returns.
        explained: Gives the order of stages, modalities and classes.

    Returns:
        Columns stage, modality, says ("all", then the classes), faces, blank, upper, middle, lower: means over the
        faces whose map is not zero everywhere, NaN where there is none.
    """
    rows = []
    for heat in explained.stages:
        for modality in heat.maps:
            own = maps[(maps["stage"] == heat.stage) & (maps["modality"] == modality)]
            for says in (ALL, *heat.classes):
                part = own if says == ALL else own[own["says"] == says]
                blank = int(part[THIRDS[0]].isna().sum())
                rows.append((heat.stage, modality, says, len(part), blank, *part[list(THIRDS)].mean().round(6)))
    return pd.DataFrame(rows, columns=["stage", "modality", "says", "faces", "blank", *THIRDS])


def enlarged(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A heat map at the size of its picture, its hottest place at 1.

    Args:
        heat: (rows, columns), at least 0.
        size: (height, width) of the picture in pixels.

    Returns:
        (height, width) float32 in [0, 1], interpolated bilinearly; all zero where `heat` is.
    """
    wide = cv2.resize(heat.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    top = wide.max()
    return wide / top if top > 0 else wide


def mean_heat(maps: Iterable[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Mean of heat maps that each count alike: every one is scaled to its own maximum first.

    Args:
        maps: (rows, columns) each; those that are zero everywhere take no part.
        size: (height, width) of the pictures.

    Returns:
        (height, width) float32 in [0, 1]; zero where no map has any heat.
    """
    total, count = np.zeros(size, np.float64), 0
    for heat in maps:
        if heat.any():
            total, count = total + enlarged(heat, size), count + 1
    return (total / max(count, 1)).astype(np.float32)


def thirds(heat: np.ndarray) -> np.ndarray:
    """Shares of a map's heat in the upper, middle and lower third of the picture.

    Args:
        heat: (height, width), at least 0; a row that a border cuts counts on both sides in part.

    Returns:
        (3,) float64 that sum to 1; NaN where there is no heat.
    """
    below = np.concatenate([[0], heat.sum(axis=1, dtype=np.float64).cumsum()])
    edges = np.linspace(0, len(heat), len(THIRDS) + 1)
    sums = np.diff(np.interp(edges, np.arange(len(below)), below))
    return sums / sums.sum() if sums.sum() > 0 else np.full(len(THIRDS), np.nan)
