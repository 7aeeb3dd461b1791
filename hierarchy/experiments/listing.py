"""The runs of a results folder in one table: settings, cost and validation scores.

Test figures are left out on purpose: this is the table that one chooses by.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.config import (
    SECTIONS,
    TRAINING_MODES,
    RunConfig,
    StageConfig,
    fields_of,
    several,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments.grid import GRID, KIND, kind_of
from fer_hierarchy.hierarchy.paths import CONFIG
from fer_hierarchy.hierarchy.printing import show
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT, TRUNK
from fer_hierarchy.hierarchy.training.transfer import weights_name
from fer_hierarchy.hierarchy.wording import UNKNOWN, millions, mode_words, points

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


def run_table(results: Path) -> pd.DataFrame:
    """One row for each run in a results folder, finished or not, the best validation accuracy first.

    The cells of grids are among them; the folds of a cross-validation, each with validation faces of its own, are not.

    Args:
        results: The folder.

    Returns:
        `COLUMNS`; scores are shares of `validation_n` faces, NaN where a run has none yet. Of an unfinished run the
        scores are those of its best epoch so far, where one network predicts all emotions.

    Raises:
        UserError: The folder is not there.
    """
    if not results.is_dir():
        raise UserError(f"--results {results}: no such folder; name the one that runs were written to")
    grids = [path.parent for path in results.glob(f"*/{GRID}") if kind_of(path.parent) == KIND]
    folders = sorted(path.parent for place in (results, *grids) for path in place.glob(f"*/{CONFIG}"))
    rows = [row for folder in folders if (row := _row(Run(folder), results)) is not None]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("validation_top1", ascending=False, kind="stable", na_position="last", ignore_index=True)


def _row(run: Run, results: Path) -> dict[str, Any] | None:
    """What is known of a run; None of an evaluation, an ensemble, or what cannot be read."""
    try:
        config, record, history = run.config, run.metrics if run.finished else None, run.history
    except UserError:
        return None
    if record is not None and record["mode"] not in TRAINING_MODES:
        return None
    cost = (record or {}).get("cost", {})
    spent = sum(float(table["cpu_seconds"].sum()) for table in history.values())
    epochs = (f"{name} {len(table)}/{config.for_stage(name).epochs}" for name, table in history.items())
    return {
        "run": run.folder.relative_to(results).as_posix(),
        "state": "finished" if record else "unfinished",
        "kind": mode_words({"mode": config.mode, "trunk": config.trunk}),
        "seed": config.seed,
        "epochs": ", ".join(epochs),
        "cpu_hours": round(cost.get("train_cpu_seconds", spent) / 3600, 3),
        "parameters": cost.get("parameters"),
        "multiply_adds": cost.get("multiply_adds"),
        **_scores(record, history),
        "flags": flags_of(config),
    }


def _scores(record: dict[str, Any] | None, history: dict[str, pd.DataFrame]) -> dict[str, float | None]:
    if record:
        scores = record.get("validation", {})
        names = {"n": "n", "top1": "top1", "balanced": "balanced_accuracy", "macro_f1": "macro_f1"}
        return {f"validation_{name}": scores.get(key) for name, key in names.items()}
    network = next((history[name] for name in (FLAT, TRUNK) if name in history), None)
    if network is None or not len(network):
        return {}
    return {"validation_top1": network["val_accuracy"].max(), "validation_macro_f1": network["val_macro_f1"].max()}


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
        run=table["run"].where(table["state"] == "finished", table["run"] + " (unfinished)"),
        multiply_adds=table["multiply_adds"].map(millions),
        cpu_hours=table["cpu_hours"].map("{:.2f}".format),
        validation_top1=table["validation_top1"].map(points),
        validation_macro_f1=table["validation_macro_f1"].map(points),
        epochs=table["epochs"].where(table["epochs"] != "", UNKNOWN),
    )
    columns = [[heading, *map(str, shown[name])] for name, heading in _HEADINGS.items()]
    widths = [max(map(len, cells)) for cells in columns]
    for line in zip(*columns, strict=True):
        show("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print("\nScores are those on validation faces, to choose by; --mode compare compares test predictions.")
