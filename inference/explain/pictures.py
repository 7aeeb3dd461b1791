"""`--mode predict --explain`: a figure a face that says why, by the maps of `--mode explain`."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.explain.heat_maps import explain_faces, map_layers_of
from fer_hierarchy.inference.explain.picture_figure import draw_explanation
from fer_hierarchy.inference.model import prepared
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.sources.pictures import SearchedPicture


class ExplanationFigures:
    """Writes the figures into a folder.

    Args:
        predictors: One a model; each needs the networks of its run.
        folder: Where to; with several models each has a folder of its own in it.

    Raises:
        UserError: A model is an export, which has no gradients, or a network of it has no map.
    """

    def __init__(self, predictors: Sequence[Predictor], folder: Path) -> None:
        self._models = []
        for predictor in predictors:
            if predictor.stages is None:
                raise UserError(f"--explain needs a run's own networks; {predictor.name} is an export of some")
            place = folder / predictor.name if len(predictors) > 1 else folder
            self._models.append((predictor, map_layers_of(predictor.stages), place))

    def write(self, looked: SearchedPicture) -> None:
        """Draw every face of a picture, `<file>_<face>.png`.

        Raises:
            UserError: A figure cannot be written.
        """
        for (predictor, layers, place), crops in zip(self._models, looked.crops, strict=False):
            if not crops:
                continue
            taxonomy = predictor.facts.taxonomy
            rows = pd.DataFrame({"id": [looked.item.name] * len(crops), "emotion": ""})
            pixels = prepared(crops, predictor.facts)
            explained = explain_faces(predictor.stages, layers, taxonomy, pixels, rows)
            for face in range(len(crops)):
                path = place / _figure_name(looked.item.below, face + 1)
                path.parent.mkdir(parents=True, exist_ok=True)
                title = f"{PurePath(looked.item.name).name}: {explained.answers[face]}"
                title += f" {100 * explained.probabilities[face]:.0f} %"
                draw_explanation(path, title, explained, face, synthetic=predictor.facts.synthetic)


def _figure_name(below: str, face: int) -> str:
    path = PurePath(below)
    return str(path.with_name(f"{path.stem}_{face}.png"))
