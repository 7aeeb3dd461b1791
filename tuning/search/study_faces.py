"""The faces of a study: train and validation, in every size that its trials need."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces, StageFaces, read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.tuning.search.study import Study


class StudyFaces:
    """Train and validation faces of one stage; test faces stay out of reach.

    Args:
        faces: All faces of the data in the size that the configuration names.
        config: Settings that they were read by.
        stage: Whose labels they get.
        fraction: Stratified share of the train faces.

    Attributes:
        size: Height and width in pixels of `faces`.
    """

    def __init__(self, faces: Faces, config: RunConfig, *, stage: str, fraction: float) -> None:
        self.config = config
        self.stage = stage
        self.fraction = fraction
        self.size = faces.images.pixels.shape[1]
        self._read = {self.size: faces}

    def of_size(self, size: int) -> tuple[StageFaces, StageFaces]:
        """Train and validation faces of so many pixels; they are read once."""
        if size not in self._read:
            self._read[size] = self._resized(size)
        faces = self._read[size]
        soft_labels = self.config.for_stage(self.stage).soft_labels
        train = faces.stage_view(self.stage, "train", soft_labels=soft_labels)
        return share(train, self.fraction, seed=self.config.seed), faces.stage_view(self.stage, "validation")

    def _resized(self, size: int) -> Faces:
        data = dataclasses.replace(self.config.data, image_size=size)
        faces = read_faces(dataclasses.replace(self.config, data=data))
        if split_fingerprint(faces) != split_fingerprint(self._read[self.size]):
            raise UserError(f"image size {size} gives other splits than {self.size}; search one size")
        return faces


def share(faces: StageFaces, fraction: float, *, seed: int) -> StageFaces:
    """A stratified share of a stage's faces, two of each class at least.

    Args:
        faces: Of one split.
        fraction: Above 0, at most 1.
        seed: Decides which.
    """
    if fraction == 1:
        return faces
    chosen = stratified_share(faces.labels, fraction, seed=seed)
    parts = ("rows", "labels", "targets", "generated")
    return dataclasses.replace(faces, **{name: getattr(faces, name)[chosen] for name in parts})


def stratified_share(labels: np.ndarray, fraction: float, *, seed: int) -> np.ndarray:
    """Sorted places of a stratified share of faces, two of each class at least.

    Args:
        labels: (n,) class of each face.
        fraction: Above 0, at most 1.
        seed: Decides which.
    """
    rng, kept = np.random.default_rng(seed), []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members), max(2, round(fraction * len(members))))
        kept.append(rng.choice(members, size=count, replace=False))
    return np.sort(np.concatenate(kept))


def data_facts(faces: Faces, config: RunConfig) -> dict[str, Any]:
    """What study.json holds of all faces: `dataset`, `path`, `fingerprint` and `splits`."""
    return {
        "dataset": "+".join(sorted(set(faces.manifest["source"]))),
        "path": config.data.data,
        "fingerprint": faces.images.fingerprint,
        "splits": split_fingerprint(faces),
    }


def split_fingerprint(faces: Faces) -> str:
    """16 hex digits over the train and validation faces: which they are, and in which split."""
    table = faces.manifest[faces.manifest["split"] != "test"]
    lines = sorted(f"{i} {s} {e}" for i, s, e in zip(table["id"], table["split"], table["emotion"], strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def same_faces(study: Study) -> Faces:
    """The faces of a study.

    Raises:
        UserError: They are not those that it was started with.
    """
    faces = read_faces(study.config)
    if (faces.images.fingerprint, split_fingerprint(faces)) != (study.data["fingerprint"], study.data["splits"]):
        raise UserError(
            f"study {study.name} is of other data: it was started with faces of fingerprint "
            f"{study.data['fingerprint']}, and {', '.join(study.config.data.paths) or 'the embedded faces'} has "
            f"{faces.images.fingerprint}; start a new study"
        )
    return faces
