"""`--mode predict --explain`: a figure a face that shows why, with the maps of `--mode explain`."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.explain.figures import draw_explanation
from fer_hierarchy.inference.explain.heat_maps import explain_faces, map_layers_of
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
            map_layers_of(predictor.stages)  # refused before the first picture
            place = folder / predictor.name if len(predictors) > 1 else folder
            self._models.append((predictor.stages, predictor.facts, place))

    def write(self, searched: SearchedPicture) -> None:
        """Draw every face of a picture, `<file>_<face>.png`.

        Raises:
            UserError: A figure cannot be written.
        """
        name, below = PurePath(searched.item.name).name, PurePath(searched.item.below)
        for (stages, facts, place), crops in zip(self._models, searched.crops, strict=False):
            if not crops:
                continue
            rows = pd.DataFrame({"id": [searched.item.name] * len(crops), "emotion": ""})
            explained = explain_faces(stages, facts.taxonomy, prepared(crops, facts), rows)
            for face, (emotion, share) in enumerate(zip(explained.predicted, explained.confidence, strict=True)):
                path = place / below.with_name(f"{below.stem}_{face + 1}.png")
                title = f"{name}: {emotion} {100 * share:.0f} %"
                draw_explanation(path, title, explained, face, synthetic=facts.synthetic)
