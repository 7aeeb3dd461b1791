"""trials.csv: a row a trial, written from what the oracle knows and what each trial left, and read as a typed frame."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.search.study import Study
from fer_hierarchy.tuning.space.spaces import drawn

if TYPE_CHECKING:
    import keras_tuner

HP = "hp:"  # begins the columns of searched values; they are before `message`
STATES = ("completed", "failed", "running")

_WHOLE = ("best_epoch", "epochs", "epochs_asked", "rung", "bracket", "parameters", "multiply_adds")
_DECIMAL = ("score", "macro_f1", "balanced_accuracy", "accuracy", "nll", "seconds", "cpu_seconds")
_FACTS = (
    *("macro_f1", "balanced_accuracy", "accuracy", "nll", "best_epoch", "epochs", "epochs_asked", "rung", "bracket"),
    *("from_trial", "seconds", "cpu_seconds", "parameters", "multiply_adds", "worker", "started", "ended"),
)
_COLUMNS = ("trial", "status", "score", *_FACTS, "message")
_KINDS = {**dict.fromkeys(_COLUMNS, "str"), **dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(_DECIMAL, "float64")}


def trial_table(oracle: "keras_tuner.Oracle", study: Study, folder: Path) -> pd.DataFrame:
    """Every trial that was started, in order.

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
    columns = [*_COLUMNS[:-1], *(f"{HP}{key}" for key in study.space), _COLUMNS[-1]]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_WHOLE, "Int64"))


def _row(trial_id: str, values: Mapping[str, Any], result: Mapping[str, Any], study: Study) -> dict[str, Any]:
    known = {"status": "running", "message": "", **result, **result.get("metrics", {}), "trial": trial_id}
    known["score"] = known[study.objective] if known["status"] == "completed" else None
    searched = {f"{HP}{key}": value for key, value in drawn(values, study.space).items()}
    return {**{name: known.get(name) for name in _COLUMNS}, **searched}


def read_trials(path: Path, needed: Sequence[str] = ("trial", "status", "score")) -> pd.DataFrame:
    """Read trials.csv or remeasured.csv.

    Args:
        path: The file.
        needed: Columns without which it is damaged.

    Returns:
        Every column that trials.csv may have: texts (`trial` as "0007", empty where there is none), float64 scores and
        seconds, Int64 counts; `hp:` columns as pandas infers them. Without rows where the file does not exist.

    Raises:
        UserError: The file is damaged.
    """
    try:
        table = pd.DataFrame(columns=list(needed))
        if path.is_file():
            table = pd.read_csv(path, dtype=_KINDS)
        if missing := [name for name in needed if name not in table]:
            raise ValueError(f"it has no column {missing[0]}")
        table = table.reindex(columns=[*table, *(name for name in _COLUMNS if name not in table)])
        if unknown := sorted(set(table["status"].dropna()) - set(STATES)):
            raise ValueError(f"status {unknown[0]!r} is none of {', '.join(STATES)}")
        table = table.astype(_KINDS)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({' '.join(str(error).split())}); delete it, and --resume writes it anew"
        ) from error
    return table.fillna({name: "" for name, kind in _KINDS.items() if kind == "str"})
