"""A search over how a hierarchy's stages are composed, on the predictions of finished runs for validation faces."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.progress import Progress, announce, announce_table
from fer_hierarchy.hierarchy.runs.run_folder import check_name, collect_notes, new_folder, write_json, write_table
from fer_hierarchy.tuning.composition.fit import search_factors
from fer_hierarchy.tuning.composition.report import write_composition_report
from fer_hierarchy.tuning.composition.runs import faces_of, read_runs
from fer_hierarchy.tuning.composition.table import Composition, best_record, factor_table, fold_table, study_record
from fer_hierarchy.tuning.search.study import BEST, STUDY, TRIALS
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.validation_faces import MEASURES, study_name

_FITTING = "searching the composition"
FOLDS_TABLE = "folds.csv"


def search_composition(
    folders: Sequence[Path], *, objective: str, seed: int, name: str | None, studies: Path, command: str
) -> Path:
    """Search temperatures, prior strengths and blend of a finished run; test predictions are not read.

    Args:
        folders: Of a hierarchical run, and perhaps of a flat one on the same validation faces.
        objective: One of `OBJECTIVES`.
        seed: Of folds, search and intervals.
        name: Of the study; made from the runs' names when None.
        studies: Folder of all studies.
        command: The command line, for the record.

    Returns:
        The study's folder, with study.json, trials.csv, folds.csv, best.json and the report.

    Raises:
        UserError: A name that is taken, or runs that cannot be composed or blended.
    """
    if objective not in OBJECTIVES:
        raise UserError(f"--objective: expected one of {', '.join(OBJECTIVES)}, got {objective!r}")
    check_name(name, studies)
    with Progress(steps={_FITTING: 20.0}) as progress, collect_notes() as notes, progress.step(_FITTING):
        tree, flat = read_runs(folders)
        faces = faces_of(tree, flat, seed=seed)
        fitted = search_factors(faces, objective=objective, seed=seed)
    runs = [tree, flat] if flat else [tree]
    stem = f"composition-{'-with-'.join(run.name for run in runs)}"
    synthetic = any(run.metrics["synthetic"] for run in runs)
    found = Composition(
        name=study_name(name, stem, studies, synthetic=synthetic),
        tree=tree,
        flat=flat,
        faces=faces,
        objective=objective,
        seed=seed,
        fitted=fitted,
        soft=Combiner().mix(faces.logs),
        command=command,
        notes=notes,
    )
    best, factors = best_record(found), factor_table(found)
    with new_folder(studies, found.name) as folder:
        write_json(folder / STUDY, study_record(found))
        write_table(folder / TRIALS, factors)
        write_table(folder / FOLDS_TABLE, fold_table(found))
        write_json(folder / BEST, best)
        announce_table(write_composition_report(folder, found, best, factors))
        announce(result_line(found, best["cross_validated"]))
    return folder


def result_line(found: Composition, record: Mapping[str, Any]) -> str:
    """The result in one line, with n, interval and seed."""
    origin = "SYNTHETIC faces, " if found.synthetic else ""
    verdict = "more than noise" if record["clear"] else "no more than noise"
    verdict += ", for the worse" * (record["clear"] and not record["better"])
    measure, scores = MEASURES[found.objective], f"{record['neutral']:.4f} (soft) -> {record['tuned']:.4f}"
    return (
        f"{found.name}: {measure} {scores} (tuned, cross-validated), "
        f"difference {record['difference']:+.4f} [{record['low']:+.4f}, {record['high']:+.4f}]: "
        f"{verdict}; {origin}n = {record['n']} validation faces, {record['folds']} folds, seed {found.seed}"
    )
