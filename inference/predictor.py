"""Predictor: a saved model and a face detector, loaded once, that predict pictures from any thread."""

import dataclasses
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.conformal import Promise
from fer_hierarchy.hierarchy.evaluation.label_shift import Estimate, reweigh
from fer_hierarchy.hierarchy.evaluation.resting import mean_logs, measured, resting_offset
from fer_hierarchy.hierarchy.paths import RESULTS
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.export.backends import open_model
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.faces.detectors import Detector, make_detector
from fer_hierarchy.inference.faces.landmarks import FaceMesh
from fer_hierarchy.inference.model import Metadata, Model, prepared
from fer_hierarchy.inference.output.records import face_columns, face_rows, prediction_columns
from fer_hierarchy.inference.priors import AUTO, Prior, estimated, prior_name, trained_prior
from fer_hierarchy.inference.resting import Resting, RestingTracks, neutral_logs
from fer_hierarchy.inference.settings import FaceConfig
from fer_hierarchy.inference.sources.given import Content, is_array, is_one, pictures_of
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.sources.pictures import SearchedPicture, searched_pictures
from fer_hierarchy.inference.timings import Timings

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

        Files, addresses and images in memory go together; what cannot be read does not end the others:

        >>> frame = Predictor.load().predict(["gone.jpg", np.zeros((48, 48), np.uint8)])
        >>> frame[["image", "file", "error"]].values.tolist()
        [[0, 'gone.jpg', 'file is missing']]

    Safe to call from several threads: the model serves them one after the other.

    Attributes:
        name: What rows call the model: the run's folder or the exported file.
        facts: What the model is: its emotions, groups, image size.
        faces: How faces are found.
        detector: What finds them; None where every picture is a face already.
        marks: What rows hold of the predictions besides: `prior`, where it is not that of training, and `resting`.
        resting: Where a person's face at rest is from; None where predictions are not measured against one.
        promise: What is guaranteed of each prediction; None where nothing is.
        timings: Where its time went since it was loaded.
    """

    def __init__(
        self,
        model: Model,
        *,
        faces: FaceConfig,
        detector: Detector | None,
        prior: Prior | None = None,
        resting: Resting | None = None,
        promise: Promise | None = None,
    ) -> None:
        self.name = Path(model.source).name
        self.facts: Metadata = model.facts
        self.faces = faces
        self.detector = detector
        self._model = model
        self._busy = threading.Lock()
        self.marks: dict[str, str] = {"prior": prior.name} if prior else {}
        self._estimates = prior is not None and prior.name == AUTO
        self._trained = trained_prior(self.facts) if prior else np.zeros(0)
        self._target = prior.target(self.facts) if prior and not self._estimates else None
        self._mesh = FaceMesh() if faces.landmarks else None
        self.timings = Timings()
        self.resting = resting
        self._neutral = neutral_logs(self.facts) if resting else np.zeros(0)
        self._offset = self._rested(resting) if resting and resting.picture else None
        self.marks |= {"resting": resting.mark} if resting else {}
        self.promise = promise
        if promise:
            _check_promise(self.facts, shifted=bool(prior or resting))
            self.marks["coverage"] = promise.name

    @classmethod
    def load(
        cls,
        run: str | Path | None = None,
        *,
        results: Path = RESULTS,
        prior: str | Path | Mapping[str, float] | None = None,
        resting: str | Path | None = None,
        coverage: float | None = None,
        coverage_each: bool = False,
        coverage_sets: str = "lac",
        **faces: Any,
    ) -> Self:
        """Open a model and a detector.

        Args:
            run: Name or folder of a run, or a file that `--mode export` wrote; None takes the published weights, as the
                TFLite file that predicts without TensorFlow, or the newest run where there are none.
            results: Folder of all runs.
            prior: Shares of the emotions where the pictures are from: a dictionary, a JSON or csv file of emotion and
                share, "uniform", or "auto" to estimate them from the faces of each call of `predict`, of which it then
                needs 50. None predicts for the shares of training.
            resting: A picture of the one person of all pictures, at rest, against which their faces are measured.
            coverage: Share of faces whose prediction is to hold the true emotion, 0.5 to 0.99; None guarantees nothing.
            coverage_each: Whether each emotion is to get that by itself.
            coverage_sets: "lac" or "aps", what the sets of emotions are made by.
            **faces: Fields of `inference.settings.FaceConfig`: cropped, detector, min_face, margin, align, ...

        Raises:
            UserError: There is no such run, or it cannot be used.
        """
        settings = FaceConfig(**faces)
        model = open_model(default_model(results, quick=True) if run is None else str(run), results)
        shares = None if prior is None else Prior.of(prior)
        rested = None if resting is None else Resting.of(resting)
        if rested and rested.picture is None:
            raise UserError(f"resting: expected a picture of the person at rest, got {resting}; seconds are for films")
        promise = None if coverage is None else Promise(coverage=coverage, each=coverage_each, sets=coverage_sets)
        return cls(
            model, faces=settings, detector=make_detector(settings), prior=shares, resting=rested, promise=promise
        )

    def _rested(self, resting: Resting) -> np.ndarray:
        """What the face of a picture at rest is too much of, (emotions,) logarithms."""
        picture = resting.read_picture()
        ((*faces,),) = Predictor.find(self, [picture])
        resting.check_faces(len(faces))
        with self._busy:
            table = self._model.predict(prepared(self.crops(picture, faces), self.facts))
        return resting_offset(mean_logs(table), self._neutral)

    def rested_tracks(self) -> RestingTracks | None:
        """What measures the faces of one film against their first seconds; None where nothing is to be."""
        if self.resting is None or self.resting.seconds is None:
            return None
        neutral = np.exp(self._neutral)[None]
        table = neutral if self._target is None else reweigh(neutral, self._trained, self._target)
        return RestingTracks(self.resting.seconds, mean_logs(table))

    @property
    def stages(self) -> "Mapping[str, Stage] | None":
        """The networks of the run, by stage; None where the model is an export."""
        return getattr(self._model, "stages", None)

    def predict_each(self, crops: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Predict the faces of several pictures together.

        Args:
            crops: For each picture its faces, uint8 (height, width) grey or (height, width, 3) RGB at any size.

        Returns:
            For each picture (faces, emotions) float64 probabilities, measured against a picture at rest where one was
            given, and for the prior that was given; for that of training where it is to be estimated.
        """
        probabilities = self._predicted(prepared([face for own in crops for face in own], self.facts))
        if self._target is not None:
            probabilities = reweigh(probabilities, self._trained, self._target)
        if self._offset is not None:
            probabilities = measured(probabilities, self._offset)
        return np.split(probabilities, np.cumsum([len(own) for own in crops])[:-1]) if crops else []

    def _predicted(self, faces: np.ndarray) -> np.ndarray:
        """(n, emotions) of (n, size, size, channels) uint8, as the model gives them."""
        with self._busy, self.timings.part("network"):
            return self._model.predict(faces)

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces in each picture, largest first; the whole picture where every picture is a face already."""
        if self.detector is None:
            return [[Face(box=(0, 0, picture.shape[1], picture.shape[0]))] for picture in pictures]
        with self.timings.part("faces"):
            return self.detector.find(pictures)

    def with_landmarks(self, picture: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """The faces with their 468 points, where the settings want these and the network finds them."""
        if self._mesh is None:
            return list(faces)
        with self.timings.part("landmarks"):
            return [dataclasses.replace(face, mesh=self._mesh.trace(picture, face)) for face in faces]

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
        self, images: Any, *, records: bool = False, allow_private: bool = False
    ) -> "pd.DataFrame | list[dict[str, Any]]":
        """Find the faces in images and predict what each expresses.

        Args:
            images: One image or an iterable of such, of any kinds and sizes:

                - a path (str or Path), a pattern such as "album/*.jpg", or a folder with all in it;
                - an http(s) address or a base64 data URI; at most 50 MB, 30 seconds and 5 redirects each;
                - `PIL.Image.Image`, or the content of a picture file as bytes;
                - an array, uint8 (height, width) grey or (height, width, channels): 1 (grey), 2 (grey and alpha),
                  3 (RGB) or 4 (RGBA), whose alpha is dropped; or many as (n, height, width[, channels]). An array of
                  three axes is one image where its last axis has at most 4 entries, else n grey ones.
            records: Give dictionaries instead of a frame.
            allow_private: Whether addresses may lead to this machine and to those of private networks.

        Returns:
            A row a face: image (position), file (path, or address without secrets; None for images in memory), face
            (number in its image, from 1), prior where one was given, left, top, width, height (pixels), score (of the
            detector, or None), emotion, probability, the gate's group of that emotion under the gate's name, route
            (the group that the gate prefers), entropy (bits), p_<emotion>, gate_<group>, reason (why the emotion is
            "uncertain", or None). With `coverage` also answer (the most specific node that is guaranteed: an emotion, a
            group or "any"), level (emotion, group or any) and set (emotions, with blanks between them). With
            `landmarks` also yaw, pitch, roll (degrees), right_eye, left_eye and mouth (how far they are open) and
            points, (468, 3) float64 pixels; None where they are not found. An image without a face has no row. One of
            several that cannot be read has a row with the reason as error, and nothing else. Where all images are
            arrays there are no columns file and error.

        Raises:
            ValueError: An array of another shape or type.
            UserError: An image that is given by itself cannot be read, a pattern or folder has no picture, or the prior
                is "auto" and there are fewer than 50 faces.
        """
        pictures = pictures_of(images, allow_private=allow_private)
        searched, tables = self._predict_all(pictures)
        if is_one(images) and searched[0].error:
            raise UserError(f"{pictures[0].name or 'image 0'}: {searched[0].error}")
        marks = self.marks
        if self._estimates:
            estimate = estimated(tables, self.facts)
            tables = [reweigh(table, self._trained, self._shares(estimate)) for table in tables]
            marks = marks | {"prior": prior_name(estimate)}
        rows = list(self._rows(searched, tables, marks))
        if records:
            return rows
        import pandas as pd

        return pd.DataFrame(rows)

    def _predict_all(self, pictures: Sequence[Item | Content]) -> tuple[list[SearchedPicture], list[np.ndarray]]:
        """Each picture with its faces, and their probabilities."""
        searched: list[SearchedPicture] = []
        tables: list[np.ndarray] = []
        for chunk in searched_pictures(pictures, [self], keep=False):
            tables += self.predict_each([one.crops[0] for one in chunk])
            searched += [dataclasses.replace(one, crops=[]) for one in chunk]
        return searched, tables

    def _rows(
        self, searched: Sequence[SearchedPicture], tables: Sequence[np.ndarray], marks: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        """Rows as `predict` gives them."""
        read = not all(is_array(one.item) for one in searched)
        columns = ["face", *marks, *face_columns(self.faces), *prediction_columns(self.facts, self.promise), "reason"]
        for position, (one, table) in enumerate(zip(searched, tables, strict=True)):
            place = {"image": position} | ({"file": one.item.name} if read else {})
            error = {"error": one.error or None} if read else {}
            if one.error:
                yield {**place, **dict.fromkeys(columns), **error}
            found = face_rows(one.faces, table, self.facts, self.faces, promise=self.promise)
            for number, row in enumerate(found, start=1):
                yield {**place, "face": number, **marks, **row, **error}

    def _shares(self, estimate: Estimate) -> np.ndarray:
        """The shares to predict for: those of training where the faces do not contradict them."""
        return estimate.shares if estimate.shifted else self._trained


def _check_promise(facts: Metadata, *, shifted: bool) -> None:
    """Refuse a promise that a model cannot keep.

    Raises:
        UserError: It holds no calibration, or its probabilities are changed after that.
    """
    if facts.guarantee is None:
        raise UserError(
            f"--coverage: {facts.run} does not hold what its calibration faces tell; export or train it again"
        )
    if shifted:
        raise UserError(
            "--coverage does not go with --prior or --resting: it is guaranteed for faces like those of the calibration"
        )


class EstimatingPredictor(Predictor):
    """Predicts for shares that are estimated from all faces of a call, which it sees twice and computes once.

    What it has found and predicted is remembered by the pixels, so that the second time costs little.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._found: dict[bytes, list[Face]] = {}
        self._seen: dict[bytes, np.ndarray] = {}
        self._tables: list[np.ndarray] = []

    def find(self, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
        """See `Predictor`."""
        keys = [_digest(picture) for picture in pictures]
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._found}
        found = super().find(list(new.values())) if new else []
        # A mesh has as many bytes as all else that is remembered of a picture, and is soon found again.
        light = ([dataclasses.replace(face, mesh=None) for face in faces] for faces in found)
        self._found |= zip(new, light, strict=True)
        return [self._found[key] for key in keys]

    def _predicted(self, faces: np.ndarray) -> np.ndarray:
        keys = [_digest(face) for face in faces]
        new = {key: at for at, key in enumerate(keys) if key not in self._seen}
        if new:
            self._seen |= zip(new, super()._predicted(faces[list(new.values())]), strict=True)
        table = np.array([self._seen[key] for key in keys]).reshape(len(faces), len(self.facts.taxonomy.emotions))
        if self._target is None:
            self._tables.append(table)
        return table

    def settle(self) -> Estimate:
        """Estimate the shares of what was predicted so far, and predict for them from now on.

        Raises:
            UserError: There were fewer than 50 faces, or the model does not hold what an estimate needs.
        """
        estimate = estimated(self._tables, self.facts)
        self._tables, self._target = [], self._shares(estimate)
        self.marks |= {"prior": prior_name(estimate)}
        return estimate


def _digest(pixels: np.ndarray) -> bytes:
    content = hashlib.blake2b(pixels.tobytes(), digest_size=16)
    content.update(str(pixels.shape).encode())
    return content.digest()


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
