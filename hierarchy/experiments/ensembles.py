"""An ensemble of finished runs: the geometric mean of their probabilities for the same faces, evaluated like a run.

No network predicts again: the prediction tables of the runs are joined.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.coverage import coverage_record, guarantee_of
from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.predictions import (
    Predictions,
    prediction_table,
    score_predictions,
    validation_summary,
)
from fer_hierarchy.hierarchy.config import EvaluationConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities, geometric_mean
from fer_hierarchy.hierarchy.experiments.comparison import aligned
from fer_hierarchy.hierarchy.paths import CONFIG, ENVIRONMENT, METRICS, PREDICTIONS, VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.progress import announce
from fer_hierarchy.hierarchy.reports.run import write_run_report
from fer_hierarchy.hierarchy.reports.screen import announce_scores
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT, POOLED
from fer_hierarchy.hierarchy.training.earlier import Training, distinct, earlier_of, earlier_record, networks_of
from fer_hierarchy.hierarchy.wording import headline

MODE = "ensemble"
# The tables have six digits; a probability that they show as zero is taken for half of the last one.
_LEAST = 5e-7
_SHARED_FACTS = ("format", "split", "data", "test_fingerprint", "taxonomy", "excluded", "emotions")


def pool_runs(
    names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str
) -> Path:
    """Evaluate the geometric mean of the probabilities of finished runs on their common test faces.

    Groups are those of the first hierarchical run, or of the first where all are flat. The cost is that of all runs.

    Args:
        names: At least two runs, by name or folder.
        name: Of the new folder.
        resamples: Bootstrap samples of every interval.
        seed: Of the bootstrap.
        results: Folder of all runs, where the new folder is made.
        command: The command line, for the record.

    Raises:
        UserError: A run is not finished or has no networks, or they were evaluated on other rows or classes.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    runs = [Run(run, results=results) for run in names]
    for run in runs:
        run.require_networks()
    lead = next((run for run in runs if run.metrics["mode"] != FLAT), runs[0])
    members = aligned(runs)
    test = _pooled([cell.rows for cell in members], lead)
    validation = _pooled_validation(runs, lead)
    stem = name or "ensemble-" + "-and-".join(run.name for run in runs)[:120]
    with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder:
        record = _record(test, runs, lead, resamples=resamples, seed=seed)
        record |= {"run": folder.name, "command": command}
        run_folder.write_json(folder / ENVIRONMENT, run_folder.environment(command))
        run_folder.write_table(folder / PREDICTIONS, prediction_table(test))
        if validation is not None:
            run_folder.write_table(folder / VALIDATION_PREDICTIONS, prediction_table(validation))
            record["validation"] = validation_summary(validation)
            record["coverage"] = _coverage(prediction_table(validation), prediction_table(test), lead)
        run_folder.write_json(folder / METRICS, record)
        run_folder.write_json(folder / CONFIG, {**lead.config.to_dict(), "name": folder.name})
        write_run_report(folder, faces=None)
    announce_scores([*((cell.name, cell.scores) for cell in members), (folder.name, record["answers"][POOLED])], "run")
    announce(headline(record))
    return folder


def _coverage(validation: pd.DataFrame, test: pd.DataFrame, lead: Run) -> dict[str, Any]:
    """How far guaranteed predictions of the ensemble keep their promise."""
    calibrating = validation[validation["row"].isin(lead.calibration_predictions["row"])]
    data, apart = lead.metrics["data"]["dataset"], lead.config.calibration_apart
    guarantee = guarantee_of(calibrating, lead.taxonomy, data=data, apart=apart)
    return coverage_record(calibrating, test, lead.taxonomy, guarantee)


def _record(test: Predictions, runs: Sequence[Run], lead: Run, *, resamples: int, seed: int) -> dict[str, Any]:
    """metrics.json, without what names this ensemble."""
    prior = np.array([lead.train_counts.get(emotion, 0) for emotion in lead.classes], dtype=float)
    training = {f"{run.name}: {stage}": facts for run in runs for stage, facts in run.metrics["training"].items()}
    return {
        **{key: lead.metrics[key] for key in _SHARED_FACTS},
        "mode": MODE,
        "framework": "+".join(dict.fromkeys(run.metrics.get("framework", "keras") for run in runs)),
        "synthetic": any(run.metrics["synthetic"] for run in runs),
        "seed": seed,
        **score_predictions(test, prior / prior.sum(), EvaluationConfig(resamples=resamples), seed=seed),
        "members": [run.name for run in runs],
        "training": training,
        "cost": _cost(runs),
        "notes": [f"Geometric mean of the runs {', '.join(run.name for run in runs)}."],
    }


def _pooled(tables: Sequence[pd.DataFrame], lead: Run) -> Predictions:
    """The pooled predictions on the faces of `tables`, which stand in the same order, with the subjects of `lead`."""
    columns = [f"p_{emotion}" for emotion in lead.classes]
    probabilities = [as_probabilities(table[columns], len(columns), PREDICTIONS) for table in tables]
    pooled = geometric_mean(probabilities, least=_LEAST)
    gate, specialists = HierarchicalClassifier(lead.taxonomy).imply(pooled)
    faces, people = tables[0], lead.subjects.to_dict()  # id -> source/subject
    subjects = [people.get(row, "") for row in faces.index]
    rows = pd.DataFrame({"id": faces.index, "emotion": faces["true"].to_numpy(), "source": "", "subject": subjects})
    return Predictions(
        taxonomy=lead.taxonomy, headline=POOLED, rows=rows, probabilities=pooled, gate=gate, specialists=specialists
    )


def _pooled_validation(runs: Sequence[Run], lead: Run) -> Predictions | None:
    """The pooled predictions on the validation faces; None where the runs chose by different ones."""
    if not all((run.folder / VALIDATION_PREDICTIONS).is_file() for run in runs):
        return None
    first, *others = [run.validation_predictions.set_index("row") for run in runs]
    if any(set(table.index) != set(first.index) for table in others):
        return None
    return _pooled([first, *(table.loc[first.index] for table in others)], lead)


def _cost(runs: Sequence[Run]) -> dict[str, Any]:
    """The cost of all runs together; the latency of one face was not measured."""
    costs = [run.metrics.get("cost") or {} for run in runs]
    names = ("train_cpu_seconds", "train_wall_seconds", "parameters", "multiply_adds")
    if any(name not in cost for cost in costs for name in names):
        raise UserError("the cost of a run is not recorded; evaluate it again")
    members = [Training(run.name, None, networks_of(run.folder)) for run in runs]  # whose own cost counts already
    earlier = distinct(one for run in runs for one in earlier_of(run))
    others = [one for one in earlier if not any(map(one.within, members))]
    return {**{name: sum(cost[name] for cost in costs) for name in names}, **earlier_record(others)}
