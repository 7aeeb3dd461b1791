"""A search over how a hierarchy's stages are composed, on what finished runs said of their validation faces."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.classifiers.combiner import Combiner
from fer_hierarchy.hierarchy.data.faces import SYNTHETIC
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run_folder import (
    check_name,
    collect_notes,
    free_name,
    new_folder,
    write_json,
    write_table,
)
from fer_hierarchy.tuning.composition.fit import search_factors
from fer_hierarchy.tuning.composition.predictions import RunPredictions, judged_faces, read_answers
from fer_hierarchy.tuning.composition.report import OBJECTIVE_WORDS, write_composition_report
from fer_hierarchy.tuning.composition.table import Composition, best_record, factor_table, fold_table, study_record
from fer_hierarchy.tuning.search.study import BEST, STUDY, TRIALS
from fer_hierarchy.tuning.settings import OBJECTIVES

FOLDS_TABLE = "folds.csv"
_LONGEST = 180  # letters of a name that is made here


def search_composition(
    runs: Sequence[Path], *, objective: str, seed: int, name: str | None, studies: Path, command: str
) -> Path:
    """Search temperatures, prior strengths and blend of a finished run; test predictions are not read.

    Args:
        runs: Folder of a hierarchical run, and perhaps of a flat one on the same validation faces.
        objective: One of `OBJECTIVES`.
        seed: Of folds, search and intervals.
        name: Of the study; made from the runs' names when None.
        studies: Folder of all studies.
        command: The command line, for the record.

    Returns:
        The study's folder.

    Raises:
        UserError: A name that is taken, or runs that cannot be composed or blended.
    """
    if objective not in OBJECTIVES:
        raise UserError(f"--objective: expected one of {', '.join(OBJECTIVES)}, got {objective!r}")
    check_name(name, studies)
    with collect_notes() as notes:
        tree, flat = read_answers(runs)
        judged = judged_faces(tree, flat, seed=seed)
        fitted = search_factors(judged, objective=objective, seed=seed)
    found = Composition(
        name=_name(name, tree, flat, studies),
        tree=tree,
        flat=flat,
        judged=judged,
        objective=objective,
        seed=seed,
        fitted=fitted,
        neutral=Combiner().mix(judged.logs),
        command=command,
        notes=notes,
    )
    with new_folder(studies, found.name) as folder:
        write_composition(folder, found)
    return folder


def _name(name: str | None, tree: RunPredictions, flat: RunPredictions | None, studies: Path) -> str:
    stem = f"composition-{tree.folder.name}" + (f"-with-{flat.folder.name}" if flat else "")
    stem = name or stem[:_LONGEST]
    if any(run.synthetic for run in (tree, flat) if run) and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    return stem if name else free_name(stem, studies)


def write_composition(folder: Path, found: Composition) -> None:
    """Write study.json, trials.csv, folds.csv, best.json and the report, and print the result in one line."""
    write_json(folder / STUDY, study_record(found))
    factors = factor_table(found)
    write_table(folder / TRIALS, factors)
    folds = fold_table(found)
    write_table(folder / FOLDS_TABLE, folds)
    best = best_record(found)
    write_json(folder / BEST, best)
    write_composition_report(folder, found, best, factors, folds)
    print(result_line(found, best["cross_validated"]))


def result_line(found: Composition, record: Mapping[str, Any]) -> str:
    """The result in one line, with n, interval and seed."""
    origin = "SYNTHETIC faces, " if found.synthetic else ""
    verdict = "more than noise" if record["clear"] else "no more than noise"
    verdict += ", for the worse" * (record["clear"] and not record["better"])
    measure, scores = OBJECTIVE_WORDS[found.objective], f"{record['neutral']:.4f} (soft) -> {record['tuned']:.4f}"
    return (
        f"{found.name}: {measure} {scores} (tuned, cross-validated), "
        f"difference {record['difference']:+.4f} [{record['low']:+.4f}, {record['high']:+.4f}]: "
        f"{verdict}; {origin}n = {record['n']} validation faces, {record['folds']} folds, seed {found.seed}"
    )
