"""The faces that decide the steps of an int8 model: some of those that the run was trained on."""

import dataclasses
import logging

import numpy as np

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.features import stratified

MOST_FACES = 500  # more move no step by much

log = logging.getLogger("fer_hierarchy")


def calibration_faces(config: RunConfig, data: DataConfig) -> np.ndarray:
    """A stratified choice of train faces, the same for the same run.

    Args:
        config: Of the run.
        data: What to read where the run's own data is gone; may name nothing.

    Returns:
        (n, size, size, channels) uint8, n up to `MOST_FACES`.

    Raises:
        UserError: Neither the run's data nor other data can be read, or it has no train faces.
    """
    try:
        faces = read_faces(config)
    except (UserError, OSError) as error:
        if data.data is None and data.dataset is None:
            raise UserError(
                f"tflite-int8 needs some train faces of this run, and they cannot be read ({error}); "
                "name other with --data"
            ) from error
        log.warning("The run's own faces cannot be read (%s): others calibrate tflite-int8.", error)
        faces = read_faces(_elsewhere(config, data))
    rows = faces.split("train")
    if not len(rows):
        raise UserError("tflite-int8 needs some train faces of this run, and the data has none; name other with --data")
    chosen = rows.iloc[stratified(rows["emotion"], most=MOST_FACES, seed=config.seed)]
    log.info("int8 calibrated by %d train faces.", len(chosen))
    return faces.images.pixels[chosen.index.to_numpy()]


def _elsewhere(config: RunConfig, data: DataConfig) -> RunConfig:
    """The run's settings with other faces."""
    other = dataclasses.replace(
        config.data,
        data=data.data,
        dataset=data.dataset,
        ferplus=data.ferplus,
        skip_bad=data.skip_bad,
        generated=None,
        limit=None,
        min_intensity=None,
        folds=None,
        fold=None,
    )
    # Other faces may have no votes, and targets matter to nobody here.
    stages = {name: {k: v for k, v in own.items() if k != "soft_labels"} for name, own in config.stages.items()}
    stage = dataclasses.replace(config.stage, soft_labels=False)
    return dataclasses.replace(config, data=other, stage=stage, stages=stages)
