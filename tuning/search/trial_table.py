"""trials.csv: a row a trial, from what the oracle knows and what each trial left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import pandas as pd

from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.search.study import Study
from fer_hierarchy.tuning.space.spaces import drawn

_FACTS = (
    "macro_f1",
    "balanced_accuracy",
    "accuracy",
    "nll",
    "best_epoch",
    "epochs",
    "epochs_asked",
    "rung",
    "bracket",
    "from_trial",
    "seconds",
    "cpu_seconds",
    "parameters",
    "multiply_adds",
    "worker",
    "started",
    "ended",
)
_WHOLE = ("best_epoch", "epochs", "epochs_asked", "rung", "bracket", "parameters", "multiply_adds")


def trial_table(oracle: keras_tuner.Oracle, study: Study, folder: Path) -> pd.DataFrame:
    """Every trial that was begun, in order.

    Args:
        oracle: Knows which trials there are.
        study: Gives the searched keys.
        folder: The study's, with a result.json for each finished trial.
    """
    workers = {trial.trial_id: worker for worker, trial in oracle.ongoing_trials.items()}
    rows = []
    for trial_id, trial in sorted(oracle.trials.items(), key=lambda item: int(item[0])):
        path = folder / "trials" / trial_id / "result.json"
        result = run_folder.read_json(path) if path.is_file() else {}
        rows.append(_row(trial_id, trial.hyperparameters.values, {"worker": workers.get(trial_id), **result}, study))
    columns = ["trial", "status", "score", *_FACTS, *(f"hp:{key}" for key in study.space), "message"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_WHOLE, "Int64"))


def _row(trial_id: str, values: Mapping[str, Any], result: Mapping[str, Any], study: Study) -> dict[str, Any]:
    known = {**result, **result.get("metrics", {})}
    done = result.get("status") == "completed"
    return {
        "trial": trial_id,
        "status": result.get("status", "running"),
        "score": known[study.search.objective] if done else None,
        **{name: known.get(name) for name in _FACTS},
        **{f"hp:{key}": value for key, value in drawn(values, study.space).items()},
        "message": result.get("message", ""),
    }
