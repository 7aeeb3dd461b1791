"""An ensemble of finished runs: the geometric mean of what they say of the same faces, judged like a run.

Nothing is asked anew: the runs' prediction tables are joined.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.hierarchical import HierarchicalClassifier
from fer_hierarchy.hierarchy.classifiers.predictions import Predictions, prediction_table, score_predictions
from fer_hierarchy.hierarchy.config import EvaluationConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import scores
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities, geometric_mean
from fer_hierarchy.hierarchy.experiments.comparison import aligned
from fer_hierarchy.hierarchy.experiments.run_record import RunRecord, load_run, read_predictions
from fer_hierarchy.hierarchy.progress import announce
from fer_hierarchy.hierarchy.reports.run import write_run_report
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS, headline, refuse_evaluation
from fer_hierarchy.hierarchy.taxonomy import FLAT, POOLED

MODE = "ensemble"
# The tables have six digits; a probability that they show as zero is taken for half of the last one.
_LEAST = 5e-7
_SHARED_FACTS = ("format", "split", "data", "test_fingerprint", "taxonomy", "excluded", "emotions")


def pool_runs(
    names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str
) -> Path:
    """Judge the geometric mean of what finished runs say of their common test faces.

    Groups are those of the first hierarchical run, or of the first where all are flat. The cost is that of all runs.

    Args:
        names: At least two runs, by name or folder.
        name: Of the new folder.
        resamples: Bootstrap samples of every interval.
        seed: Of the bootstrap.
        results: Where runs are looked for and the new folder is made.
        command: The command line, for the record.

    Raises:
        UserError: A run is not finished or has no networks, or they were judged on other rows or classes.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    folders = [run_folder.find_run(run, results) for run in names]
    for folder in folders:
        refuse_evaluation(folder)
    records = [load_run(folder) for folder in folders]
    test = [cell.rows for cell in aligned(records)]
    lead = next((record for record in records if record.metrics["mode"] != FLAT), records[0])
    config = run_folder.read_config(lead.folder)
    stem = name or "ensemble-" + "-and-".join(record.name for record in records)[:120]
    said = _pooled(test, _rows(test[0], records[0]), lead)
    counts = lead.metrics["data"]["counts"]["train"]
    prior = np.array([counts.get(emotion, 0) for emotion in lead.classes], dtype=float)
    judging = EvaluationConfig(resamples=resamples)
    record = {
        **{key: lead.metrics[key] for key in _SHARED_FACTS},
        "run": run_folder.free_name(stem, results),
        "mode": MODE,
        "framework": "+".join(dict.fromkeys(record.metrics.get("framework", "keras") for record in records)),
        "synthetic": any(record.metrics["synthetic"] for record in records),
        "command": command,
        "seed": seed,
        **score_predictions(said, prior / prior.sum(), judging, seed=seed),
        "members": [record.name for record in records],
        "training": {
            f"{member.name}: {stage}": facts
            for member in records
            for stage, facts in member.metrics["training"].items()
        },
        "cost": _cost(records),
        "notes": [f"Geometric mean of the runs {', '.join(member.name for member in records)}."],
    }
    with run_folder.new_folder(results, record["run"]) as folder:
        run_folder.write_json(folder / run_folder.ENVIRONMENT, run_folder.environment(command))
        run_folder.write_table(folder / run_folder.PREDICTIONS, prediction_table(said))
        validation = _validation(records, lead)
        if validation is not None:
            run_folder.write_table(folder / VALIDATION_PREDICTIONS, prediction_table(validation))
            record["validation"] = _summary(validation)
        run_folder.write_json(folder / run_folder.METRICS, record)
        run_folder.write_json(folder / run_folder.CONFIG, {**config.to_dict(), "name": record["run"]})
        write_run_report(folder, faces=None)
    announce(headline(record))
    return folder


def _pooled(tables: Sequence[pd.DataFrame], rows: pd.DataFrame, lead: RunRecord) -> Predictions:
    """The pooled answer to the faces of `tables`, which stand in the same order."""
    columns = [f"p_{emotion}" for emotion in lead.classes]
    answers = [as_probabilities(table[columns], len(columns), run_folder.PREDICTIONS) for table in tables]
    answer = geometric_mean(answers, least=_LEAST)
    gate, specialists = HierarchicalClassifier(lead.taxonomy).imply(answer)
    return Predictions(
        taxonomy=lead.taxonomy, headline=POOLED, rows=rows, answer=answer, gate=gate, specialists=specialists
    )


def _rows(table: pd.DataFrame, record: RunRecord) -> pd.DataFrame:
    """What judging needs of the faces: id, emotion, and who is on them."""
    people = record.subjects.to_dict()  # source/subject
    known = [people.get(row, "") for row in table.index]
    return pd.DataFrame({"id": table.index, "emotion": table["true"].to_numpy(), "source": "", "subject": known})


def _validation(records: Sequence[RunRecord], lead: RunRecord) -> Predictions | None:
    """The pooled answer to the validation faces; None where the runs chose by different ones."""
    paths = [record.folder / VALIDATION_PREDICTIONS for record in records]
    if not all(path.is_file() for path in paths):
        return None
    tables = [read_predictions(path, record.taxonomy) for path, record in zip(paths, records, strict=True)]
    if any(set(table.index) != set(tables[0].index) for table in tables[1:]):
        return None
    tables = [table.loc[tables[0].index] for table in tables]
    return _pooled(tables, _rows(tables[0], lead), lead)


def _summary(said: Predictions) -> dict[str, Any]:
    """The figures that choices may be made on, as every run has them."""
    table = scores(said.rows["emotion"].to_numpy(str), said.answer, said.taxonomy.emotions, resamples=100)
    return {name: table[name] for name in ("n", "top1", "balanced_accuracy", "macro_f1", "nll")}


def _cost(records: Sequence[RunRecord]) -> dict[str, Any]:
    """What all runs take together; how long one face takes was not measured."""
    costs = [record.metrics.get("cost") or {} for record in records]
    names = ("train_cpu_seconds", "train_wall_seconds", "parameters", "multiply_adds")
    if any(name not in cost for cost in costs for name in names):
        raise UserError("a run does not say what it cost; evaluate it again")
    return {name: sum(cost[name] for cost in costs) for name in names}
