"""Teachers: finished runs whose predictions of the train faces are mixed into the labels of a new one.

Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; where teacher and student are alike it
is self-distillation. Several teachers are joined by their geometric mean. They predict each
face once, before training, as it is; every stage gets the share of a composed prediction that is about its classes.
"""

import dataclasses
import logging
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.classifiers.predictions import predict
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import PICTURES, DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces, StageFaces, as_stage_shares
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.probabilities import geometric_mean
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

_LEAST = 1e-12  # what a smaller probability is taken for

log = logging.getLogger("fer_hierarchy")


def check_teachers(config: RunConfig, taxonomy: Taxonomy) -> None:
    """Refuse, before anything is written, a teacher that cannot predict the run's faces.

    Args:
        config: Settings with data, framework and image size given.
        taxonomy: The run's grouping.

    Raises:
        UserError: It is not finished, or of another framework or another kind of pictures, or lacks an emotion.
    """
    for teacher in config.data.teachers:
        _check_teacher(Path(teacher), config, taxonomy)


def _check_teacher(folder: Path, config: RunConfig, taxonomy: Taxonomy) -> None:
    run = _opened(folder)
    known, own = run.taxonomy, run.config
    lacking = [emotion for emotion in taxonomy.emotions if emotion not in known.emotions]
    if lacking:
        raise UserError(
            f"--teacher {folder.name}: it does not know {', '.join(lacking)}; leave that out with --exclude"
        )
    if own.framework != config.framework:
        raise UserError(f"--teacher {folder.name}: it is of {own.framework}; needed {config.framework}")
    if own.reads_depth != config.reads_depth:
        raise UserError(f"--teacher {folder.name}: one of the two runs reads depth, the other does not")
    for name in PICTURES:
        if (theirs := getattr(own.data, name)) != (ours := getattr(config.data, name)):
            flag = "--" + name.replace("_", "-")
            raise UserError(f"--teacher {folder.name}: its faces have {flag} {theirs}, this run's {ours}; use the same")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftTargets:
    """What the labels are mixed with.

    Attributes:
        shares: (n, emotions) float32 the teachers' prediction of each train face, in the order of the run's train rows.
        rows: (n,) int64 rows of the pixels that they belong to.
        weight: Share of the teachers in the mixture.
    """

    shares: np.ndarray
    rows: np.ndarray
    weight: float

    def applied_to(self, view: StageFaces, stage: str, taxonomy: Taxonomy) -> StageFaces:
        """A stage's train faces with the teachers' predictions mixed into their targets."""
        shares = self.shares[np.isin(self.rows, view.rows)]
        soft = as_stage_shares(shares, taxonomy, stage, otherwise=view.targets)
        mixed = (1 - self.weight) * view.targets + self.weight * soft
        return dataclasses.replace(view, targets=mixed.astype(np.float32))


def note_teachers(data: DataConfig) -> None:
    """Note what the labels are, for the report."""
    names = ", ".join(Path(teacher).name for teacher in data.teachers)
    share, runs_named = 100 * data.teacher_weight, "run" if len(data.teachers) == 1 else "runs"
    if names:
        log.warning("Labels: %.0f %% predictions of the %s %s.", share, runs_named, names)


def teacher_targets(faces: Faces, data: DataConfig, stage_type: type[Stage]) -> SoftTargets | None:
    """The teachers' predictions of every train face; None where there is no teacher.

    Args:
        faces: Of the run; only the train faces are predicted.
        data: Names the teachers, their weight and temperature.
        stage_type: What the teachers' stages are loaded as.

    Raises:
        UserError: A teacher's files are damaged.
    """
    if not data.teachers:
        return None
    predictions = [_predict(Path(teacher), faces, stage_type) for teacher in data.teachers]
    joined = geometric_mean(predictions, least=_LEAST)
    softened = np.maximum(joined, _LEAST) ** (1 / data.teacher_temperature)
    shares = (softened / softened.sum(axis=1, keepdims=True)).astype(np.float32)
    return SoftTargets(shares=shares, rows=faces.split("train").index.to_numpy(), weight=data.teacher_weight)


def _predict(folder: Path, faces: Faces, stage_type: type[Stage]) -> np.ndarray:
    """(n, emotions) one teacher's predictions of the train faces, for the emotions of the run."""
    run = _opened(folder)
    predicted = predict(run.load_stages(stage_type), run.taxonomy, faces.images.pixels, faces.split("train"))
    columns = [run.classes.index(emotion) for emotion in faces.taxonomy.emotions]
    return predicted.probabilities[:, columns]


def _opened(folder: Path) -> Run:
    """A teacher, which is a finished run with networks."""
    run = Run(folder)
    if not run.finished or not run.stages:
        raise UserError(f"--teacher {folder.name}: it is no finished run with networks of its own")
    return run
