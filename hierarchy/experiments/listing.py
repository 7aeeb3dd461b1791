"""The runs of a results folder in one table: settings, cost and validation scores.

Test figures are left out on purpose: this is the table that one chooses by.
"""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from fer_hierarchy.hierarchy.config import (
    SECTIONS,
    RunConfig,
    StageConfig,
    fields_of,
    several,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.grid import GRID, KIND, kind_of
from fer_hierarchy.hierarchy.paths import CONFIG
from fer_hierarchy.hierarchy.printing import show, table_lines
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT, TRUNK
from fer_hierarchy.hierarchy.training.transfer import weights_name
from fer_hierarchy.hierarchy.wording import millions, mode_words, plain, points

COLUMNS = (
    *("run", "state", "kind", "seed", "epochs", "cpu_hours", "parameters", "multiply_adds"),
    *("validation_n", "validation_top1", "validation_balanced", "validation_macro_f1", "flags"),
)
_HEADINGS = {
    "run": "run",
    "kind": "kind",
    "epochs": "epochs",
    "cpu_hours": "CPU h",
    "multiply_adds": "multiply-adds",
    "validation_top1": "top-1 %",
    "validation_macro_f1": "macro F1 %",
}
_LEFT_OUT = ("data", "channels", "resamples", "name", "mode", "seed", "framework")

log = logging.getLogger("fer_hierarchy")

_Value = TypeVar("_Value")


def run_table(results: Path) -> pd.DataFrame:
    """One row for each run in a results folder, finished or not, the best validation accuracy first.

    The cells of grids, published runs, evaluations and ensembles are among them; the folds of a cross-validation, each
    with validation faces of its own, are not. What a damaged file would tell is missing, with a warning.

    Args:
        results: The folder; runs stand in it, or in its folders.

    Returns:
        `COLUMNS`; scores are shares of `validation_n` faces, NaN where a run has none yet. Of an unfinished run the
        scores are those of its best epoch so far, where one network predicts all emotions.

    Raises:
        UserError: The folder is not there.
    """
    if not results.is_dir():
        raise UserError(f"--results {results}: no such folder; name the one that runs were written to")
    folders = sorted(path.parent for depth in ("*", "*/*") for path in results.glob(f"{depth}/{CONFIG}"))
    rows = [_row(Run(folder), results) for folder in folders if not _is_fold(folder)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("validation_top1", ascending=False, kind="stable", na_position="last", ignore_index=True)


def _is_fold(folder: Path) -> bool:
    return (folder.parent / GRID).is_file() and kind_of(folder.parent) != KIND


def _row(run: Run, results: Path) -> dict[str, Any]:
    """What is known of a run; files that cannot be read are named in a warning."""
    config = _readable(lambda: run.config)
    record = _readable(lambda: run.metrics) if run.finished else None
    damaged = config is None or (run.finished and record is None)
    row = {"run": run.folder.relative_to(results).as_posix(), "state": _state(run, damaged)}
    if config is None:
        return row
    return row | _known(config, record or {}, _histories(run))


def _readable(read: Callable[[], _Value]) -> _Value | None:
    """What `read` returns; None, with a warning, where its file is damaged."""
    try:
        return read()
    except UserError as error:
        log.warning("%s", error)
        return None


def _state(run: Run, damaged: bool) -> str:
    return "damaged" if damaged else "finished" if run.finished else "unfinished"


def _histories(run: Run) -> dict[str, pd.DataFrame]:
    """Stage -> the epochs so far."""
    found = {name: _readable(partial(run.history_of, name)) for name in run.stages_begun}
    return {name: table for name, table in found.items() if table is not None}


def _known(config: RunConfig, record: dict[str, Any], history: dict[str, pd.DataFrame]) -> dict[str, Any]:
    cost = record.get("cost") or {}
    spent = sum(float(table["cpu_seconds"].sum()) for table in history.values() if "cpu_seconds" in table)
    epochs = (f"{name} {len(table)}/{config.for_stage(name).epochs}" for name, table in history.items())
    return {
        "kind": _kind(config, record),
        "seed": config.seed,
        "epochs": ", ".join(epochs),
        "cpu_hours": round(cost.get("train_cpu_seconds", spent) / 3600, 3),
        "parameters": cost.get("parameters"),
        "multiply_adds": cost.get("multiply_adds"),
        **_scores(record, history),
        "flags": flags_of(config),
    }


def _kind(config: RunConfig, record: dict[str, Any]) -> str:
    if origin := record.get("trained_on"):
        return f"evaluation of {origin['run']} on {record['data']['dataset']}"
    if members := record.get("members"):
        return f"ensemble of {', '.join(members)}"
    return mode_words({"mode": config.mode, "trunk": config.trunk})


def _scores(record: dict[str, Any], history: dict[str, pd.DataFrame]) -> dict[str, float | None]:
    if record:
        scores = record.get("validation", {})
        names = {"n": "n", "top1": "top1", "balanced": "balanced_accuracy", "macro_f1": "macro_f1"}
        return {f"validation_{name}": scores.get(key) for name, key in names.items()}
    network = next((history[name] for name in (FLAT, TRUNK) if name in history), pd.DataFrame())
    measures = {"validation_top1": "val_accuracy", "validation_macro_f1": "val_macro_f1"}
    return {name: network[column].max() for name, column in measures.items() if len(network) and column in network}


def flags_of(config: RunConfig) -> str:
    """The flags that differ from the defaults, as they are typed; data and names are left out."""
    words = []
    for part, values in {RunConfig: config, **{part: getattr(config, key) for key, part in SECTIONS.items()}}.items():
        for name, field in fields_of(part).items():
            value, staged = getattr(values, name), part is StageConfig
            own = {stage: given[name] for stage, given in config.stages.items() if staged and name in given}
            if name not in _LEFT_OUT and (value != field.default or own):
                words.append(_flag(name, value, own, staged=staged))
    return " ".join(words)


def _flag(name: str, value: Any, own: dict[str, Any], *, staged: bool) -> str:
    flag = "--" + name.replace("_", "-")
    if isinstance(value, bool) and not staged:
        return flag if value else f"--no-{name.replace('_', '-')}"
    if name == "teacher":
        return " ".join(f"{flag} {Path(teacher).name}" for teacher in several(value))
    if name == "weights":
        value, own = weights_name(value), {stage: weights_name(given) for stage, given in own.items()}
    texts = [_text(value), *(f"{stage}={_text(given)}" for stage, given in own.items())]
    return f"{flag} {','.join(texts)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return f"{value:g}" if isinstance(value, float) else str(value)


def print_runs(table: pd.DataFrame) -> None:
    """The table as aligned lines, without the flags."""
    if table.empty:
        print("no runs")
        return
    shown = table.assign(
        run=table["run"].where(table["state"] == "finished", table["run"] + " (" + table["state"] + ")"),
        multiply_adds=table["multiply_adds"].map(millions),
        cpu_hours=table["cpu_hours"].map("{:.2f}".format, na_action="ignore"),
        validation_top1=table["validation_top1"].map(points),
        validation_macro_f1=table["validation_macro_f1"].map(points),
    )
    columns = [[heading, *shown[name].map(plain)] for name, heading in _HEADINGS.items()]
    show(*table_lines(zip(*columns, strict=True)))
    print("\nScores are those on validation faces, to choose by; --mode compare compares test predictions.")
