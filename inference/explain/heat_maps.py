"""Faces with what a run answers of them and where each stage looked: the heat maps, and tables made of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.predictions import Predictions, predict
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.data.depth.depth_planes import has_depth
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.grad_cam import MapLayer, grad_cam, map_layers
from fer_hierarchy.inference.explain.heat import THIRDS, enlarged, thirds

ALL = "all"  # in regions.csv: whatever the stage says


@dataclass(frozen=True, kw_only=True)
class StageHeat:
    """Where one stage looked on the faces that it answered for.

    Attributes:
        stage: Its name.
        classes: Its class order.
        faces: (m,) int64 positions of those faces; a specialist answers for those of its group only.
        answers: (m,) int64 index of the class that it names, and that each map is about.
        probabilities: (m,) float64 of that class in this stage.
        maps: Modality -> (m, rows, columns) float32 as `grad_cam` gives them.
    """

    stage: str
    classes: tuple[str, ...]
    faces: np.ndarray
    answers: np.ndarray
    probabilities: np.ndarray
    maps: Mapping[str, np.ndarray]

    def says(self) -> np.ndarray:
        """(m,) names of the answers."""
        return np.array(self.classes, dtype=object)[self.answers]

    def at(self, face: int) -> int | None:
        """Where in `faces` a face stands; None where the stage did not answer for it."""
        found = np.flatnonzero(self.faces == face)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, kw_only=True)
class HeatMaps:
    """Faces, the run's answers and the stages' heat maps.

    Attributes:
        pixels: (n, height, width, planes) uint8, uint16 where the last plane is depth.
        rows: n rows with `id` and `emotion`, which is "" where nobody knows it; RangeIndex.
        taxonomy: The run's grouping.
        answers: (n,) emotions that the whole run names.
        probabilities: (n,) float64 of those.
        table: (n, emotions) float64 of all emotions.
        stages: The gate first, or the flat stage alone.
    """

    pixels: np.ndarray
    rows: pd.DataFrame
    taxonomy: Taxonomy
    answers: np.ndarray
    probabilities: np.ndarray
    table: np.ndarray
    stages: tuple[StageHeat, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the faces."""
        return self.pixels.shape[1:3]

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


def explain_faces(
    stages: Mapping[str, Stage],
    layers: Mapping[str, Mapping[str, MapLayer]],
    taxonomy: Taxonomy,
    pixels: np.ndarray,
    rows: pd.DataFrame,
) -> HeatMaps:
    """Ask a run about faces, and each stage that answers where it looks.

    Args:
        stages: All stages of the run by name.
        layers: What `map_layers_of` returns.
        taxonomy: The run's grouping.
        pixels: (n, height, width, planes).
        rows: n rows with `id` and `emotion`.
    """
    rows = rows.reset_index(drop=True)
    said = predict(stages, taxonomy, pixels, rows)
    heats = []
    for name, faces, table in _answering(said):
        answers = table.argmax(axis=1)
        maps = grad_cam(stages[name].core, pixels[faces], answers + stages[name].first_output, layers[name])
        heat = StageHeat(
            stage=name,
            classes=taxonomy.stage_classes(name),
            faces=faces,
            answers=answers,
            probabilities=table.max(axis=1),
            maps=maps,
        )
        heats.append(heat)
    return HeatMaps(
        pixels=pixels,
        rows=rows,
        taxonomy=taxonomy,
        answers=np.array(taxonomy.emotions, dtype=object)[said.answer.argmax(axis=1)],
        probabilities=said.answer.max(axis=1),
        table=said.answer,
        stages=tuple(heats),
    )


def _answering(said: Predictions) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each stage with the faces that it answers for, and its probabilities of them.

    The specialist that answers is the one of the group that the composed answer is in: soft composition may overrule
    the gate, and then the other specialist has named the emotion.
    """
    everybody = np.arange(len(said.rows))
    if said.headline == FLAT:
        yield FLAT, everybody, said.answer
        return
    taxonomy = said.taxonomy
    yield taxonomy.gate, everybody, said.gate
    groups = np.array(taxonomy.group_index)[said.answer.argmax(axis=1)]
    for group in taxonomy.specialists:
        faces = np.flatnonzero(groups == taxonomy.group_names.index(group))
        yield group, faces, said.specialists[group][faces]


def map_table(explained: HeatMaps) -> pd.DataFrame:
    """A row a map: face, true emotion, the run's answer, the stage and what it says, and where the heat lies.

    Returns:
        Columns row, emotion, answer, stage, says, probability, modality, upper, middle, lower; the last three are
        shares of the heat, empty where a map is zero everywhere.
    """
    parts = [
        _maps_of(explained, heat, modality, maps) for heat in explained.stages for modality, maps in heat.maps.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _maps_of(explained: HeatMaps, heat: StageHeat, modality: str, maps: np.ndarray) -> pd.DataFrame:
    shares = np.array([thirds(enlarged(one, explained.size)) for one in maps]).reshape(-1, len(THIRDS))
    table = pd.DataFrame(
        {
            "row": explained.rows["id"].to_numpy(object)[heat.faces],
            "emotion": explained.rows["emotion"].to_numpy(object)[heat.faces],
            "answer": explained.answers[heat.faces],
            "stage": heat.stage,
            "says": heat.says(),
            "probability": heat.probabilities.round(6),
            "modality": modality,
        }
    )
    table[list(THIRDS)] = shares.round(6)
    return table


def region_table(maps: pd.DataFrame, explained: HeatMaps) -> pd.DataFrame:
    """How the heat of each stage, modality and answer is shared out over the picture's thirds.

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


def depth_planes(explained: HeatMaps) -> np.ndarray | None:
    """(n, height, width) uint16 depth of the faces; None where they come without."""
    return explained.pixels[..., -1] if has_depth(explained.pixels) else None
