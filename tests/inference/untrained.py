"""Finished runs that nobody trained: their networks have random weights, or a last layer fitted in one step."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.paths import CONFIG, METRICS, SPLITS, STAGES
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run, split_table
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.hierarchy.training.callbacks import save_model
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.models.registry import create_model

SHAPE = (16, 16, 1)


def write_run(
    folder: Path,
    taxonomy: Taxonomy,
    *,
    mode: str = "hierarchical",
    model: str = "shallow_cnn",
    shared: bool = False,
    mirror: bool = False,
    stage: StageConfig | None = None,
    data: Path | str = "gone",
) -> Path:
    """A finished run of untrained networks, or of one with several heads; temperatures and prior shifts differ."""
    faces = DataConfig(data=str(data), image_size=SHAPE[0], channels=SHAPE[2], emotions=taxonomy.emotions)
    config = RunConfig(mode=mode, name=folder.name, data=faces, stage=stage or StageConfig(model=model))
    names, first = taxonomy.stages(mode), 0
    for number, name in enumerate(names):
        classes = taxonomy.stage_classes(name)
        made = KerasStage(
            name=name,
            classes=classes,
            columns=(first, first + len(classes)) if shared else None,
            mirror=mirror,
            temperature=2.0 + number,
            log_prior_shift=tuple(np.linspace(-1, 0.5, len(classes))) if number else None,
            record={"model": model},
        )
        place = folder / STAGES / name
        place.mkdir(parents=True)
        made.save(place)
        if not shared:
            write_network(place, model, classes=classes, seed=number)
        first += len(classes)
    if shared:
        every = [word for name in names for word in taxonomy.stage_classes(name)]
        write_network(folder / STAGES / "trunk", model, classes=every, seed=len(names))
    run_folder.write_json(folder / CONFIG, config.to_dict())
    counts = {"counts": {"train": dict.fromkeys(taxonomy.emotions, 1)}}
    empty = {name: {} for name in ("answers", "stages", "cost", "training")}
    parts = {"format": 1, "mode": mode, "seed": 0, "taxonomy": taxonomy.to_dict(), "synthetic": False, "data": counts}
    run_folder.write_json(folder / METRICS, {**parts, **empty, "headline": "soft"})
    return folder


def write_network(place: Path, model: str, *, classes: Sequence[str], seed: int) -> None:
    keras.utils.set_random_seed(seed)
    place.mkdir(exist_ok=True)
    save_model(create_model(model, input_shape=SHAPE, num_classes=len(classes)), place / "model.keras", classes)


def fit_last_layers(folder: Path) -> Path:
    """Make a run of `write_run` tell its faces apart, by least squares in the last layer of each network."""
    run = Run(folder)
    faces = read_faces(run.config)
    run_folder.write_table(folder / SPLITS, split_table(faces))
    rows = faces.split("train")
    for name in run.taxonomy.stages(run.config.mode):
        labels = np.array(run.taxonomy.stage_labels(name, rows["emotion"]))
        pixels = faces.images.pixels[rows.index.to_numpy()[labels >= 0]].astype(np.float32)
        file = folder / STAGES / name / "model.keras"
        network = keras.models.load_model(file)
        last = network.layers[-1]
        features = np.asarray(keras.Model(network.input, last.input)(pixels))
        targets = 12.0 * np.eye(last.units)[labels[labels >= 0]] - 6
        last.set_weights([np.linalg.lstsq(features, targets, rcond=1e-3)[0], np.zeros(last.units)])
        network.save(file)
    return folder
