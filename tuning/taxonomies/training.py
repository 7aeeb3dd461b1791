"""One candidate of a search over taxonomies: its stages trained on equal terms and judged on validation faces."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.classifiers.predictions import predict, prediction_table, score_predictions
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces
from fer_hierarchy.hierarchy.data.sampling import class_prior
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS as VALIDATION
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.training.stages import train_stages

CANDIDATES = "candidates"
SCORES = "scores.json"
FAILED = "failed.json"

log = logging.getLogger("hierarchy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingCandidate:
    """What is trained: a hierarchy over one grouping, or the flat network that is their yardstick.

    Attributes:
        name: Of its folder.
        text: What progress calls it.
        taxonomy: The grouping.
        mode: "hierarchical" or "flat".
    """

    name: str
    text: str
    taxonomy: Taxonomy
    mode: str

    @property
    def stages(self) -> tuple[str, ...]:
        """What is trained, in order."""
        return self.taxonomy.stages(self.mode)

    def config(self, common: RunConfig) -> RunConfig:
        """The settings that all share, for this one."""
        data = dataclasses.replace(common.data, taxonomy=self.taxonomy.to_dict())
        return dataclasses.replace(common, mode=self.mode, data=data)


def equal_settings(config: RunConfig, taxonomy: Taxonomy) -> RunConfig:
    """Settings of a flat run as those of every stage of every hierarchy.

    Args:
        config: What the user gave; settings of the stage "flat" become those of all stages.
        taxonomy: Any of the groupings.

    Raises:
        UserError: Settings of single stages of a hierarchy.
    """
    others = [name for name in config.stages if name != FLAT]
    if others:
        raise UserError(f"--stage taxonomy trains all stages alike; leave out what is said of stage {others[0]} alone")
    data = dataclasses.replace(config.data, taxonomy=taxonomy.to_dict())
    stage = config.for_stage(FLAT)
    return dataclasses.replace(config, mode="hierarchical", name=None, data=data, stage=stage, stages={}, searched={})


def thinned(faces: Faces, fraction: float, *, seed: int) -> Faces:
    """The faces with a stratified share of the train rows, two of each emotion at least, the same for every stage.

    Args:
        faces: All faces.
        fraction: Above 0, at most 1.
        seed: Decides which.
    """
    if fraction == 1:
        return faces
    rng, train = np.random.default_rng(seed), faces.split("train")
    kept = [faces.manifest.index[faces.manifest["split"] != "train"].to_numpy()]
    for emotion in faces.taxonomy.emotions:
        members = train.index[train["emotion"] == emotion].to_numpy()
        count = min(len(members), max(2, round(fraction * len(members))))
        kept.append(rng.choice(members, size=count, replace=False))
    chosen = np.concatenate(kept)
    return dataclasses.replace(faces, manifest=faces.manifest[faces.manifest.index.isin(chosen)])


def planned_work(entrant: TrainingCandidate, common: RunConfig, stage_type: type[Stage], faces: Faces) -> float:
    """Work of training all stages of one entrant, in the stages' own unit."""
    config, taxonomy, shape = entrant.config(common), entrant.taxonomy, faces.images.pixels.shape[1:]
    own = dataclasses.replace(faces, taxonomy=taxonomy)
    work = 0.0
    for stage in entrant.stages:
        settings = config.for_stage(stage)
        labels = own.stage_view(stage, "train", soft_labels=settings.soft_labels).labels
        work += stage_type.planned_work(settings, shape, len(taxonomy.stage_classes(stage)), labels)
    return work


def is_complete(place: Path) -> bool:
    """Whether a candidate's folder holds all that is kept of it."""
    return (place / SCORES).is_file() and (place / VALIDATION).is_file()


def train_and_judge(
    place: Path, entrant: TrainingCandidate, common: RunConfig, stage_type: type[Stage], faces: Faces, *, logs: Path
) -> None:
    """Train what is not trained yet below `place`, and write the scores; that it failed is noted there instead.

    Args:
        place: Folder of the candidate.
        entrant: What is trained.
        common: Settings that all entrants share.
        stage_type: What trains the stages.
        faces: Of all entrants; test faces are not looked at.
        logs: Where TensorBoard's files go.
    """
    place.mkdir(parents=True, exist_ok=True)
    (place / FAILED).unlink(missing_ok=True)
    config, own = entrant.config(common), dataclasses.replace(faces, taxonomy=entrant.taxonomy)
    try:
        stages = train_stages(place, config, stage_type, own, logs)
    except UserError as error:
        log.warning("%s failed: %s", entrant.name, error)
        run_folder.write_json(place / FAILED, {"message": str(error)})
        return
    said = predict(stages, own.taxonomy, own.images.pixels, own.split("validation"))
    view = own.stage_view(FLAT, "train")
    prior = class_prior(view.labels[~view.generated], len(own.taxonomy.emotions))
    judging = dataclasses.replace(config.evaluation, logit_adjustment=0.0)
    run_folder.write_table(place / VALIDATION, prediction_table(said))
    record = {
        "format": 1,
        "name": entrant.name,
        "split": "validation",
        "taxonomy": entrant.taxonomy.to_dict(),
        **score_predictions(said, prior, judging, seed=common.seed),
        "training": {name: stage.record for name, stage in stages.items()},
        "cost": _cost(stages),
    }
    run_folder.write_json(place / SCORES, record)


def _cost(stages: Mapping[str, Stage]) -> dict[str, Any]:
    """What training and answering take, summed over the stages."""

    def total(name: str) -> float:
        return sum(stage.record[name] for stage in stages.values())

    return {
        "stages": len(stages),
        "faces_shown": sum(stage.record["drawn_rows"] * stage.record["epochs_run"] for stage in stages.values()),
        "cpu_seconds": total("cpu_seconds"),
        "seconds": total("wall_seconds"),
        "parameters": total("parameters"),
        "multiply_adds": total("multiply_adds"),
    }


def read_scores(place: Path) -> dict[str, Any] | None:
    """scores.json of a candidate; None where it failed or was not trained."""
    return run_folder.read_json(place / SCORES) if is_complete(place) else None


def failure(place: Path) -> str:
    """Why a candidate failed; nothing where it did not."""
    return str(run_folder.read_json(place / FAILED)["message"]) if (place / FAILED).is_file() else ""
