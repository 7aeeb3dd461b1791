"""Heat maps of a finished run: faces through every stage, the maps to figures, tables and a report."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data.faces import Faces, decode, read_faces, read_manifest
from fer_hierarchy.hierarchy.data.leakage import seen_hashes
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.features import stratified
from fer_hierarchy.hierarchy.paths import SPLITS
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.evaluated_faces import as_trained, evaluated_faces
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces
from fer_hierarchy.inference.explain.heat_maps import explain_faces, map_layers_of
from fer_hierarchy.inference.explain.report import write_explanation

MOST_FACES = 500  # more take long and change an average little

_ANY_SIZE = "folder"  # the source that promises nothing of its pictures
_UNKNOWN = ""  # emotion of a picture that no data set labels

log = logging.getLogger("fer_hierarchy")


def explain_run(
    run: str,
    stage_type: type[Stage],
    *,
    data: DataConfig,
    images: Sequence[str] = (),
    name: str | None,
    results: Path,
    command: str,
) -> Path:
    """Draw where every stage of a finished run finds the evidence for its prediction.

    Args:
        run: Name or folder.
        stage_type: What loads the stages.
        data: Which faces; where it names none, `images` alone, or without these the run's own test faces.
        images: Files of faces to show one by one.
        name: Folder below `results`; None for one made of the run and the data.
        results: Folder of all runs.
        command: The command line, for the record.

    Returns:
        The folder with the report.

    Raises:
        UserError: No finished run, faces that cannot be read, or none that the run knows.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    limit = data.limit
    opened = Run(run, results=results)
    stages = opened.load_stages(stage_type)
    layers = map_layers_of(stages)
    with run_folder.collect_notes() as notes:
        named = data.data is not None or data.dataset is not None
        data = as_trained(data, opened) if named else dataclasses.replace(opened.config.data, skip_bad=data.skip_bad)
        pictures = explain_faces(stages, opened.taxonomy, *_pictures(images, opened, data, named)) if images else None
        faces = _faces(opened, data, named) if named or not images else None
        chosen = None if faces is None else explain_faces(stages, opened.taxonomy, *_chosen(faces, opened, limit))
    record = {
        "run": opened.name,
        "mode": opened.config.mode,
        "seed": opened.config.seed,
        "command": command,
        "synthetic": bool(opened.metrics["synthetic"] if faces is None else faces.synthetic),
        "faces": 0 if chosen is None else len(chosen.rows),
        "test_faces": 0 if faces is None else len(faces.split("test")),
        "images": 0 if pictures is None else len(pictures.rows),
        "layers": {
            stage: {what: {"layer": place.name, "grid": place.grid} for what, place in places.items()}
            for stage, places in layers.items()
        },
        "notes": notes,
    }
    where = f"-on-{'+'.join(sorted(set(faces.manifest['source'])))}" if named and faces is not None else ""
    stem = run_folder.marked(name or f"explain-{opened.name}{where}", synthetic=bool(record["synthetic"]))
    with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder:
        write_explanation(folder, record, chosen, pictures)
    return folder


def _faces(opened: Run, data: DataConfig, named: bool) -> Faces:
    """The faces of the named data, or the run's own; what it was not trained on is in the split "test"."""
    if named:  # without its limit: the faces are chosen later, of all
        return evaluated_faces(dataclasses.replace(data, limit=None), opened)
    own = opened.config.data
    own = dataclasses.replace(own, skip_bad=own.skip_bad or data.skip_bad)
    faces = read_faces(dataclasses.replace(opened.config, data=own))
    check_same_faces(opened.folder, faces)
    return faces


def _chosen(faces: Faces, opened: Run, limit: int | None) -> tuple[np.ndarray, pd.DataFrame]:
    """Pixels and rows of a stratified choice of the test faces."""
    rows = faces.split("test")
    emotions = rows["emotion"].nunique()
    if limit is not None and limit < emotions:
        raise UserError(f"--limit {limit} is too small for {emotions} emotions; at least {emotions} are needed")
    rows = rows.iloc[stratified(rows["emotion"], most=limit or MOST_FACES, seed=opened.config.seed)]
    return faces.images.pixels[rows.index.to_numpy()], rows


def _pictures(files: Sequence[str], opened: Run, data: DataConfig, named: bool) -> tuple[np.ndarray, pd.DataFrame]:
    """Pixels and rows of the user's pictures; labelled where the named data holds them."""
    files = list({_absolute(file): file for file in files}.values())
    listed = _listed(files, data) if named else {}
    missing = [file for file in files if file not in listed]
    if missing and opened.config.reads_depth:
        where = f"none of the pictures of {', '.join(data.paths) or data.dataset}" if named else "a picture alone"
        raise UserError(
            f"--image {missing[0]}: run {opened.name} takes faces with their depth, and this file is {where}; "
            "name the data set that holds both with --data"
        )
    plain = [_plain_manifest(missing)] if missing else []
    manifest = pd.concat([*plain, *listed.values()], ignore_index=True)
    images = decode(manifest, data, with_depth=opened.config.reads_depth)
    rows = images.manifest
    rows = rows.assign(emotion=rows["emotion"].mask(rows["file"].isin(missing), _UNKNOWN))
    rows = rows.iloc[rows["file"].map(files.index).argsort()]
    seen = seen_hashes(opened.folder / SPLITS)
    for file in rows.loc[rows["pixel_hash"].isin(seen), "id"]:  # predictions there prove nothing about other faces
        log.warning("The run trained on %s or chose by it.", file)
    return images.pixels[rows.index.to_numpy()], rows


def _listed(files: Sequence[str], data: DataConfig) -> dict[str, pd.DataFrame]:
    """File -> its manifest row, of the files that the named data holds."""
    manifest = read_manifest(data)
    pictures = manifest[manifest["row"] < 0]
    found = {}
    for file in files:
        alike = pictures[pictures["path"].str.endswith(Path(file).name)]
        row = alike[[_absolute(path) == _absolute(file) for path in alike["path"]]].head(1)
        if len(row):
            found[file] = row.assign(file=file)
    return found


def _plain_manifest(files: Sequence[str]) -> pd.DataFrame:
    paths = [_absolute(file) for file in files]
    # A manifest has no word for an emotion that nobody knows; the caller takes this one out again.
    labels = ["neutral"] * len(files)
    return make_manifest(ids=files, paths=paths, emotions=labels, source=_ANY_SIZE).assign(file=files)


def _absolute(file: str) -> str:
    return str(Path(file).resolve())
