"""Predictor: a saved model and a face detector, loaded once, that predict pictures from any thread."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fer_hierarchy.hierarchy.paths import RESULTS
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.faces.detectors import Detector, make_detector
from fer_hierarchy.inference.model import Metadata, Model, prepared
from fer_hierarchy.inference.output.records import face_rows
from fer_hierarchy.inference.settings import FaceConfig

if TYPE_CHECKING:  # the light path does without it
    import pandas as pd

    from fer_hierarchy.hierarchy.classifiers.stage import Stage


class Predictor:
    """Finds faces in pictures and predicts their emotions.

    Examples:
        >>> import numpy as np
        >>> from fer_hierarchy import Predictor
        >>> faces = Predictor.load(cropped=True).predict(np.zeros((48, 48), np.uint8))
        >>> len(faces), round(float(faces.filter(like="p_").sum(axis=1)[0]), 3)
        (1, 1.0)

    Safe to call from several threads: the model serves them one after the other.

    Attributes:
        name: What rows call the model: the run's folder or the exported file.
        facts: What the model is: its emotions, groups, image size.
        faces: How faces are found.
        detector: What finds them; None where every picture is a face already.
    """

    def __init__(self, model: Model, *, faces: FaceConfig, detector: Detector | None) -> None:
        self.name = Path(model.source).name
        self.facts: Metadata = model.facts
        self.faces = faces
        self.detector = detector
        self._model = model
        self._busy = threading.Lock()

    @classmethod
    def load(cls, run: str | Path | None = None, *, results: Path = RESULTS, **faces: Any) -> Self:
        """Open a model and a detector.

        Args:
            run: Name or folder of a run, or a file that `--mode export` wrote; None takes the published weights, or the
                newest run where there are none.
            results: Folder of all runs.
            **faces: Fields of `inference.settings.FaceConfig`: cropped, detector, min_face, margin, align, ...

        Raises:
            UserError: There is no such run, or it cannot be used.
        """
        settings = FaceConfig(**faces)
        model = open_model(default_model(results) if run is None else str(run), results)
        return cls(model, faces=settings, detector=make_detector(settings))

    @property
    def stages(self) -> "Mapping[str, Stage] | None":
        """The networks of the run, by stage; None where the model is an export."""
        return getattr(self._model, "stages", None)

    def predict_each(self, crops: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Predict the faces of several pictures together.

        Args:
            crops: For each picture its faces, uint8 (height, width) grey or (height, width, 3) RGB at any size.

        Returns:
            For each picture (faces, emotions) float64 probabilities.
        """
        ready = prepared([face for own in crops for face in own], self.facts)
        with self._busy:
            probabilities = self._model.predict(ready)
        return np.split(probabilities, np.cumsum([len(own) for own in crops])[:-1]) if crops else []

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces in each picture, largest first; the whole picture where every picture is a face already."""
        if self.detector is None:
            return [[Face(box=(0, 0, picture.shape[1], picture.shape[0]))] for picture in pictures]
        return self.detector.find(pictures)

    def crops(self, picture: np.ndarray, faces: Sequence[Face]) -> list[np.ndarray]:
        """The faces as `predict_each` takes them, cut out of their picture."""
        if self.detector is None:
            return [self._leveled(picture)]
        settings = self.faces
        cut = [crop(picture, face, margin=settings.margin, align=settings.align) for face in faces]
        return [
            one if settings.align and face.points is not None else self._leveled(one)
            for one, face in zip(cut, faces, strict=True)
        ]

    def _leveled(self, face: np.ndarray) -> np.ndarray:
        """A face as those that the model was trained on: turned by its eyes, where those were."""
        if not self.facts.align:
            return face
        from fer_hierarchy.hierarchy.data.alignment import leveled

        return leveled(None, face, None)[0]

    def predict(
        self, images: np.ndarray | Sequence[np.ndarray], *, records: bool = False
    ) -> "pd.DataFrame | list[dict[str, Any]]":
        """Find the faces in images and predict what each expresses.

        Args:
            images: One image, uint8 (height, width) grey or (height, width, channels); a sequence of such, of any
                sizes; or an array (n, height, width[, channels]). Channels are 1 (grey), 2 (grey and alpha), 3 (RGB)
                or 4 (RGBA); alpha is dropped. An array of three axes is one image where its last axis has at most 4
                entries, else n grey ones.
            records: Give dictionaries instead of a frame.

        Returns:
            A row a face: image (position), face (number in its image, from 1), left, top, width, height (pixels),
            score (of the detector, or None), emotion, probability, the gate's group of that emotion under the gate's
            name, route (the group that the gate prefers), entropy (bits), p_<emotion>, gate_<group>. An image without a
            face has no row.

        Raises:
            ValueError: An image of another shape or type.
        """
        pictures = _as_pictures(images)
        found = self.find(pictures)
        tables = self.predict_each([self.crops(p, faces) for p, faces in zip(pictures, found, strict=True)])
        rows = [
            {"image": at, "face": number, **row}
            for at, (faces, own) in enumerate(zip(found, tables, strict=True))
            for number, row in enumerate(face_rows(faces, own, self.facts), start=1)
        ]
        if records:
            return rows
        import pandas as pd

        return pd.DataFrame(rows)


def predict_together(
    predictors: Sequence[Predictor], crops: Sequence[Sequence[Sequence[np.ndarray]]]
) -> list[tuple[np.ndarray, ...]]:
    """Predict the faces of several pictures by several models.

    Args:
        predictors: The models.
        crops: For each picture and model the faces, as `Predictor.crops` gives them.

    Returns:
        For each picture and model (faces, emotions) float64 probabilities.
    """
    by_model = [
        predictor.predict_each([models[number] for models in crops]) for number, predictor in enumerate(predictors)
    ]
    return list(zip(*by_model, strict=True))


def _as_pictures(images: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    if isinstance(images, np.ndarray):
        images = [images] if images.ndim == 2 or _has_channels(images) else images
    pictures = [np.asarray(image) for image in images]
    for number, picture in enumerate(pictures):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or _has_channels(picture)) or not picture.size:
            raise ValueError(
                f"image {number}: got shape {picture.shape}, {picture.dtype}; "
                "right is uint8 (height, width) or (height, width, channels) with 1 to 4 channels"
            )
    return [_without_alpha(picture) for picture in pictures]


def _has_channels(picture: np.ndarray) -> bool:
    return picture.ndim == 3 and 1 <= picture.shape[-1] <= 4


def _without_alpha(picture: np.ndarray) -> np.ndarray:
    """(height, width) where a picture has one or two channels, (height, width, 3) where it has more."""
    if picture.ndim == 2:
        return picture
    return np.ascontiguousarray(picture[..., :3] if picture.shape[-1] > 2 else picture[..., 0])
