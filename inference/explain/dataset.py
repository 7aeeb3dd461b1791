"""Where a finished run looks: faces through every stage, the heat maps to figures, tables and a report."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import SYNTHETIC, Faces, decode, read_faces, read_manifest, resolve_data
from fer_hierarchy.hierarchy.data.leakage import seen_hashes
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.features import stratified
from fer_hierarchy.hierarchy.runs import run_folder, run_results
from fer_hierarchy.hierarchy.runs.evaluated_faces import evaluated_faces
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.inference.explain.grad_cam import MapLayer
from fer_hierarchy.inference.explain.heat_maps import HeatMaps, explain_faces, map_layers_of
from fer_hierarchy.inference.explain.report import Explanation, write_explanation

MOST_FACES = 500  # more take long and change an average little

_ANY_SIZE = "folder"  # the source that promises nothing of its pictures
_UNKNOWN = ""  # emotion of a picture that no data set labels

log = logging.getLogger("hierarchy")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A finished run, opened.

    Attributes:
        folder: Where it is.
        config: What it was started with.
        trained: Its metrics.json.
        taxonomy: Its grouping, without absent emotions.
        stages: Its networks by stage.
        layers: Stage -> modality -> where the network's last map is.
    """

    folder: Path
    config: RunConfig
    trained: Mapping
    taxonomy: Taxonomy
    stages: Mapping[str, Stage]
    layers: Mapping[str, Mapping[str, MapLayer]]


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
    """Draw where every stage of a finished run looks when it answers.

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
    opened = _opened(run, stage_type, results)
    with run_folder.collect_notes() as notes:
        data = _as_trained(data, opened.config)
        pictures = _pictures(images, opened, data) if images else None
        faces = _faces(opened, data) if _named(data) or not images else None
        judged = None if faces is None else _judged(faces, opened, data.limit)
        explanation = Explanation(
            run=opened.folder.name,
            mode=opened.config.mode,
            seed=opened.config.seed,
            command=command,
            synthetic=opened.trained["synthetic"] if faces is None else faces.synthetic,
            layers=opened.layers,
            judged=judged,
            test_faces=0 if faces is None else len(faces.split("test")),
            pictures=pictures,
            notes=notes,
        )
    stem = name or _stem(opened, faces if _named(data) else None)
    if explanation.synthetic and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder:
        write_explanation(folder, explanation)
    return folder


def _opened(run: str, stage_type: type[Stage], results: Path) -> _Run:
    folder = run_folder.find_run(run, results)
    run_results.refuse_evaluation(folder)
    trained = run_results.read_metrics(folder)
    config = run_folder.read_config(folder)
    taxonomy = Taxonomy.from_dict(trained["taxonomy"], name="run")
    stages = stage_type.load_all(folder / run_folder.STAGES, taxonomy.stages(config.mode))
    layers = map_layers_of(stages)
    return _Run(folder=folder, config=config, trained=trained, taxonomy=taxonomy, stages=stages, layers=layers)


def _named(data: DataConfig) -> bool:
    """Whether the user names a data set."""
    return data.data is not None or data.dataset is not None


def _as_trained(data: DataConfig, config: RunConfig) -> DataConfig:
    """The user's data, decoded as the run's own was."""
    own = config.data
    data = resolve_data(data) if _named(data) else data
    return dataclasses.replace(
        data, image_size=own.image_size, channels=own.channels, align=own.align, taxonomy=own.taxonomy
    )


def _faces(opened: _Run, data: DataConfig) -> Faces:
    """The faces of the named data, or the run's own; what it has not trained on is in the split "test"."""
    config = opened.config
    if _named(data):
        everything = dataclasses.replace(data, limit=None)  # which faces are looked at is chosen later, of all
        return evaluated_faces(everything, Run(opened.folder))
    skip_bad = config.data.skip_bad or data.skip_bad
    faces = read_faces(dataclasses.replace(config, data=dataclasses.replace(config.data, skip_bad=skip_bad)))
    run_results.check_same_faces(opened.folder, faces)
    return faces


def _judged(faces: Faces, opened: _Run, limit: int | None) -> HeatMaps:
    """A stratified choice of the test faces, explained."""
    rows = faces.split("test")
    emotions = rows["emotion"].nunique()
    if limit is not None and limit < emotions:
        raise UserError(f"--limit {limit} is too small for {emotions} emotions; at least {emotions} are needed")
    rows = rows.iloc[stratified(rows["emotion"], most=limit or MOST_FACES, seed=opened.config.seed)]
    pixels = faces.images.pixels[rows.index.to_numpy()]
    return explain_faces(opened.stages, opened.layers, opened.taxonomy, pixels, rows)


def _pictures(files: Sequence[str], opened: _Run, data: DataConfig) -> HeatMaps:
    """The user's pictures, explained; labelled where the named data holds them."""
    files = list({_absolute(file): file for file in files}.values())
    listed = _listed(files, data) if _named(data) else {}
    missing = [file for file in files if file not in listed]
    if missing and opened.config.reads_depth:
        where = f"none of the pictures of {_words(data)}" if _named(data) else "a picture alone"
        raise UserError(
            f"--image {missing[0]}: run {opened.folder.name} takes faces with their depth, and this file is {where}; "
            "name the data set that holds both with --data"
        )
    plain = [_plain_manifest(missing)] if missing else []
    manifest = pd.concat([*plain, *listed.values()], ignore_index=True)
    images = decode(manifest, data, with_depth=opened.config.reads_depth)
    rows = images.manifest.assign(
        emotion=images.manifest["emotion"].mask(images.manifest["file"].isin(missing), _UNKNOWN)
    )
    rows = rows.iloc[rows["file"].map(files.index).argsort()]
    _note_seen(rows, opened.folder)
    return explain_faces(opened.stages, opened.layers, opened.taxonomy, images.pixels[rows.index.to_numpy()], rows)


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


def _note_seen(rows: pd.DataFrame, folder: Path) -> None:
    """Warn of pictures that the run was trained on: its predictions there prove nothing about other faces."""
    seen = seen_hashes(folder / run_folder.SPLITS)
    for name in rows.loc[rows["pixel_hash"].isin(seen), "id"]:
        log.warning("The run trained on %s or chose by it.", name)


def _words(data: DataConfig) -> str:
    return ", ".join(data.paths) or str(data.dataset)


def _stem(opened: _Run, faces: Faces | None) -> str:
    where = "" if faces is None else f"-on-{'+'.join(sorted(set(faces.manifest['source'])))}"
    return f"explain-{opened.folder.name}{where}"
