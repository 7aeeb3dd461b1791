"""Training a grid: every cell one after the other as an ordinary run, then one report of all; it can be interrupted."""

import dataclasses
import gc
import logging
import re
import shlex
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import SEPARATE, SYNTHETIC, RunConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.data.leakage import check_unseen
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import crossval
from fer_hierarchy.hierarchy.experiments.crossval_table import FOLDS, CellFaces, check_folds, fold_table, read_folds
from fer_hierarchy.hierarchy.experiments.grid import FOLD, GRID, KIND, SEED, Cell, Grid, read_grid, write_grid
from fer_hierarchy.hierarchy.experiments.report import write_crossval_report, write_grid_report
from fer_hierarchy.hierarchy.experiments.table import REPORT, GridCell, grid_table, is_complete, outcome
from fer_hierarchy.hierarchy.paths import COMMAND, LOGS, ROOT
from fer_hierarchy.hierarchy.progress import Progress, announce
from fer_hierarchy.hierarchy.reports.screen import announce_scores
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import resume_hint
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.training import pipeline
from fer_hierarchy.hierarchy.training.stages import planned_work
from fer_hierarchy.hierarchy.training.transfer import origins
from fer_hierarchy.hierarchy.training.workers import Task, WorkerDiedError, Workers

TABLE = "table.csv"
_REPORTING = "writing the report of all"
_LONGEST_AXES = 80  # letters of a grid's own name
_LONGEST_MODEL = 60  # letters of a cross-validation's

log = logging.getLogger("fer_hierarchy")


@dataclass(frozen=True, kw_only=True)
class ExperimentKind:
    """What a grid is trained for, and what it is called.

    Attributes:
        noun: What all runs together are called.
        way: The flags that go on with it.
        cell: What one run of it is called.
        size: How large it is, in words.
        stem: The name of its folder, made of the grid and the data set.
        begin: Writes what must be known before anything is trained; gets the folder, the grid and what its cells see.
        check: Refuses to go on where what `begin` wrote is no longer true.
        report: Writes the report; gets the folder, the grid and what became of its cells.
    """

    noun: str
    way: tuple[str, ...]
    cell: str
    size: Callable[[Grid], str]
    stem: Callable[[Grid, str], str]
    begin: Callable[[Path, Grid, Sequence[CellFaces]], None] = lambda *_: None
    check: Callable[[Path, Grid, Sequence[CellFaces]], None] = lambda *_: None
    report: Callable[[Path, Grid, Sequence[GridCell]], None]


def _check_saved_folds(folder: Path, planned: Grid, faces: Sequence[CellFaces]) -> None:
    by, expected = planned.cells[0].config.data.split_by, fold_table(planned, faces)
    check_folds(folder / FOLDS, read_folds(folder), expected, by=by)


def _crossval_stem(planned: Grid, dataset: str) -> str:
    config, repeats = planned.cells[0].config, len(planned.axes[SEED])
    model = re.sub(r"[^\w.+-]+", "-", config.stage.model)[:_LONGEST_MODEL]
    times = f"x{repeats}" if repeats > 1 else ""
    return f"{dataset}-{config.mode}-{model}-{len(planned.axes[FOLD])}fold{times}-seed{planned.axes[SEED][0]}"


PLAIN = ExperimentKind(
    noun="grid",
    way=("--mode", KIND),
    cell="cell",
    size=lambda grid: grid.product,
    stem=lambda grid, dataset: f"{dataset}-grid-{'-'.join(grid.axes)[:_LONGEST_AXES]}",
    report=write_grid_report,
)
CROSSVAL = ExperimentKind(
    noun="cross-validation",
    way=("--mode", crossval.KIND),
    cell="run",
    size=crossval.size,
    stem=_crossval_stem,
    begin=lambda folder, grid, faces: run_folder.write_table(folder / FOLDS, fold_table(grid, faces)),
    check=_check_saved_folds,
    report=lambda folder, grid, cells: write_crossval_report(folder, grid, cells, read_folds(folder)),
)
BASELINE = dataclasses.replace(
    PLAIN,
    noun="comparison",
    way=("--mode", "hierarchical", "--baseline"),
    cell="run",
    size=lambda _: "of a flat network and a hierarchy",
    stem=lambda _, dataset: f"{dataset}-hierarchical-against-flat",
)
_KINDS = {KIND: PLAIN, crossval.KIND: CROSSVAL}


def plan_baseline(
    config: RunConfig, stage_type: type[Stage], *, check: Callable[[RunConfig], RunConfig], command: str
) -> Grid:
    """A hierarchy and a flat network of the same budget on the same faces, as a grid of two cells.

    The flat network trains for the epochs whose multiply-adds come nearest to those of all networks of the hierarchy:
    as many as a shared trunk, twice as many as three separate networks of one kind. It takes the settings of all
    stages; those of single stages are the hierarchy's alone.

    Args:
        config: Of the hierarchy.
        stage_type: What trains the stages.
        check: Checks the settings of the flat run, and returns what it is to be given.
        command: The command line.

    Raises:
        UserError: The settings are those of a flat run, or bad, or the data is.
    """
    if config.mode == FLAT:
        raise UserError("--baseline trains a flat network beside a hierarchy; these settings are of --mode flat")
    config = pipeline.settle_before_data(config, stage_type)
    faces = read_faces(config)
    config = pipeline.with_epochs(config, faces)
    flat = check(dataclasses.replace(config, mode=FLAT, trunk=SEPARATE, stages={}, searched={}))
    stage = flat.stage
    one_epoch = planned_work(dataclasses.replace(flat, stage=dataclasses.replace(stage, epochs=1)), stage_type, faces)
    epochs = max(1, round(planned_work(config, stage_type, faces) / one_epoch))
    announce(f"the flat network ({stage.model}) trains for {epochs} epochs: as many multiply-adds as the hierarchy's")
    runs = {FLAT: dataclasses.replace(flat, stage=dataclasses.replace(stage, epochs=epochs)), config.mode: config}
    cells = tuple(Cell(name=mode, point={"mode": mode}, config=own) for mode, own in runs.items())
    return Grid(axes={"mode": tuple(runs)}, cells=cells, command=command)


def train_grid(
    grid: Grid,
    stage_type: type[Stage],
    *,
    name: str | None,
    results: Path,
    logs: Path,
    job: ExperimentKind | None = None,
    workers: Workers | None = None,
) -> Path:
    """Train every cell of a new grid and report on all of them.

    Args:
        grid: Axes and cells.
        stage_type: What trains the stages.
        name: Folder below `results`; None for one made of data set and axes.
        results: Folder of all runs and grids.
        logs: Folder of all logs.
        job: What it is trained for; by default that of the grid's kind.
        workers: Train several cells at once; without them one is trained after the other.

    Returns:
        The grid's folder.

    Raises:
        UserError: Bad data or settings, before anything is trained; or, at the end, that cells failed.
        KeyboardInterrupt: With the command that goes on.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    job = job or _KINDS[grid.kind]
    faces = _check_cells(grid, stage_type)
    dataset = "+".join(dict.fromkeys(own.dataset for own in faces))
    stem = name or job.stem(grid, dataset)
    stem = run_folder.marked(stem, synthetic=SYNTHETIC in dataset)
    prefix = f"{SYNTHETIC}-" * (SYNTHETIC in dataset)
    cells = [
        dataclasses.replace(cell, name=prefix + cell.name, fingerprint=own.fingerprint)
        for cell, own in zip(grid.cells, faces, strict=True)
    ]
    grid = dataclasses.replace(grid, cells=tuple(cells))
    with run_folder.new_folder(results, stem if name else run_folder.free_name(stem, results)) as folder:
        job.begin(folder, grid, faces)
        write_grid(folder, grid)
    return _train_cells(folder, grid, stage_type, logs=logs, job=job, workers=workers)


def resume_grid(
    folder: Path,
    stage_type: type[Stage],
    *,
    logs: Path,
    job: ExperimentKind | None = None,
    workers: Workers | None = None,
) -> Path:
    """Go on with a grid: finished cells are kept, the half-done one goes on, failed ones are tried again.

    Args:
        folder: The grid's folder.
        stage_type: What trains the stages.
        logs: Folder of all logs.
        job: What it is trained for; by default that of the grid's kind.
        workers: Train several cells at once; without them one is trained after the other.

    Raises:
        UserError: The data has changed, a file is damaged, or, at the end, that cells failed.
        KeyboardInterrupt: With the command that goes on.
    """
    grid = read_grid(folder)
    job = job or _KINDS[grid.kind]
    with run_folder.resumable(folder, _resume_hint(folder, job, logs)):
        faces = _check_cells(grid, stage_type)
    for cell, own in zip(grid.cells, faces, strict=True):
        if cell.fingerprint != own.fingerprint:
            raise UserError(f"the data has changed since {job.noun} {folder.name} was started; start a new {job.noun}")
    job.check(folder, grid, faces)
    return _train_cells(folder, grid, stage_type, logs=logs, job=job, workers=workers)


def _check_cells(grid: Grid, stage_type: type[Stage]) -> list[CellFaces]:
    """Build every model once and read every set of faces once: what is bad ends a grid before anything is trained.

    Returns:
        What is known of the faces of each cell.
    """
    configs = [pipeline.settle_before_data(cell.config, stage_type) for cell in grid.cells]
    read: dict[str, CellFaces] = {}
    faces = []
    for config in configs:
        # Nothing else decides which faces there are and where they stand.
        key = repr((config.data, config.seed, config.learns_votes))
        if key not in read:
            read[key] = _read_cell_faces(config)
        weights = [config.for_stage(stage).weights for stage in config.grouping().stages(config.mode)]
        check_unseen(origins(weights), read[key].test_hashes)
        faces.append(read[key])
    return faces


def _read_cell_faces(config: RunConfig) -> CellFaces:
    faces = read_faces(config)
    dataset, test = "+".join(sorted(set(faces.manifest["source"]))), faces.split("test")
    return CellFaces(
        dataset, faces.images.fingerprint, frozenset(test["pixel_hash"]), test[["id", "source", "subject"]].copy()
    )


def _train_cells(
    folder: Path, grid: Grid, stage_type: type[Stage], *, logs: Path, job: ExperimentKind, workers: Workers | None
) -> Path:
    """Train the cells that are not finished, write the table after each and the report after all."""
    announce(f"{job.noun} {folder.name}, {job.size(grid)}")
    cells, total = list(grid.cells), len(grid.cells)
    table = {n: outcome(folder, cell) for n, cell in enumerate(cells) if is_complete(folder / cell.name)}
    for number in table:
        announce(f"{job.cell} {number + 1} of {total}: {cells[number].text}, finished already")
    left = {f"{job.cell} {n + 1} of {total}": cell for n, cell in enumerate(cells) if n not in table}
    progress, hint = Progress(total, done=len(table), steps={_REPORTING: 10.0}), _resume_hint(folder, job, logs)
    train = partial(_train_and_note, folder, stage_type, logs, hint)
    with progress, run_folder.resumable(folder, hint):
        training = _train_at_once(workers, left, train, progress) if workers else _train_in_turn(left, train, progress)
        for cell in training:
            number = next(n for n, own in enumerate(cells) if own.name == cell.name)
            cells[number], table[number] = cell, outcome(folder, cell)
            write_grid(folder, dataclasses.replace(grid, cells=tuple(cells)))
            run_folder.write_table(folder / TABLE, grid_table([table[n] for n in sorted(table)]))
        ordered = [table[n] for n in range(total)]
        with progress.step(_REPORTING):
            job.report(folder, grid, ordered)
    failed = [cell.name for cell in ordered if cell.run is None]
    if failed or set(grid.axes) != {"mode"}:  # whose report has announced more than scores
        done = [(cell.name, cell.scores) for cell in ordered if cell.run]
        announce_scores([*done, *((f"{name} (failed)", {}) for name in failed)], job.cell)
    if failed:
        raise UserError(
            f"{len(failed)} of {total} {job.cell}s failed: {', '.join(failed)}; "
            f"{folder / REPORT} says why and has the others"
        )
    return folder


def _train_in_turn(left: Mapping[str, Cell], train: Callable[[Cell], Cell], progress: Progress) -> Iterator[Cell]:
    """Train one cell after the other, and yield each with its error, where it failed."""
    for line, cell in left.items():
        announce(f"{line}: {cell.text} [{progress.clocks}]")
        with progress.part(1, f"{line}: "):
            ended = train(cell)
        yield ended
        gc.collect()  # networks hold each other in circles; without this the next one would stand beside them


def _train_at_once(
    workers: Workers, left: Mapping[str, Cell], train: Callable[[Cell], Cell], progress: Progress
) -> Iterator[Cell]:
    """Train several cells at once, and yield each, the first to end first."""
    here = socket.gethostname()
    tasks = iter(
        [Task(name=n, work=1, function=_train_there, arguments=(train, cell, here)) for n, cell in left.items()]
    )
    for task, ended in workers.results(lambda: next(tasks, None), progress):
        cell = left[task.name]
        if isinstance(ended, WorkerDiedError):
            log.warning("cell %s failed: %s", cell.name, ended)
            ended = dataclasses.replace(cell, error=str(ended))
        if isinstance(ended, UserError):
            raise ended
        progress.settle(f"{task.name}: {cell.text}")
        yield ended


def _train_there(train: Callable[[Cell], Cell], cell: Cell, home: str) -> Cell:
    """Train a cell in a worker's process, on faces that are those of the process on the host `home`."""
    if socket.gethostname() != home and _read_cell_faces(cell.config).fingerprint != cell.fingerprint:
        raise UserError(f"{socket.gethostname()} has other faces than {home} in {', '.join(cell.config.data.paths)}")
    return train(cell)


def _train_and_note(folder: Path, stage_type: type[Stage], logs: Path, hint: str, cell: Cell) -> Cell:
    """Train one cell and return it with its error, where it failed; that does not end the grid."""
    if not (folder / GRID).is_file():
        raise UserError(
            f"{socket.gethostname()} does not see {folder}; all machines must see the folder of the results"
        )
    try:
        _train(folder / cell.name, cell, stage_type, logs=logs / folder.name)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in run_folder.FULL_OR_LOCKED:
            raise run_folder.unwritable(cause, folder, hint) from cause
        if not (folder / cell.name / paths.CONFIG).is_file():  # nothing was trained: bad data or settings
            raise
        log.warning("cell %s failed: %s", cell.name, error)
        return dataclasses.replace(cell, error=str(error))
    return dataclasses.replace(cell, error="")


def _train(place: Path, cell: Cell, stage_type: type[Stage], *, logs: Path) -> None:
    config = dataclasses.replace(cell.config, name=cell.name)
    shown = place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
    command = shlex.join([*COMMAND, "--config", str(shown / paths.CONFIG)])
    if (place / paths.CONFIG).is_file():
        pipeline.resume_run(str(place), stage_type, flags={}, results=place.parent, logs=logs, command=command)
        return
    if place.exists():  # killed before its configuration was written: there is nothing to go on with
        shutil.rmtree(place)
    pipeline.train_run(config, stage_type, results=place.parent, logs=logs, command=command)


def _resume_hint(folder: Path, job: ExperimentKind, logs: Path) -> str:
    """The command that goes on with a grid, as it can be pasted."""
    return resume_hint(folder, *job.way, *([] if logs == LOGS else ["--logs", str(logs)]))
