"""The tables of a search's report: the best trials with how to use them, the failed ones, and all of them."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.paths import COMMAND
from fer_hierarchy.hierarchy.reports.page import Block, Code, Section, Table, Text
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import UNKNOWN, known, millions, whole
from fer_hierarchy.tuning.report.figures import TITLES, score_text
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.report.trials import ranked, settings_numbers, word
from fer_hierarchy.tuning.search.study import BEST, STUDIES, TRIALS
from fer_hierarchy.tuning.search.trial_table import HP
from fer_hierarchy.tuning.space.dimension import spelled

MOST_LISTED = 40  # trials in the table of all
_TOP = 10


def best_section(record: StudyRecord) -> Section:
    """The best trials side by side, and the command that uses the best one; needs a completed trial."""
    blocks: list[Block] = [*_top_table(record), *_standard_error(record)]
    if record.best:
        settings = [(key, spelled(value)) for key, value in record.best["hyperparameters"].items()]
        caption = f"The settings of trial {record.best['trial']}, as {BEST} holds them"
        blocks += [
            Text(_use_words(record, record.best["epochs"])),
            Code(use_command(record)),
            Table(("Setting", "Value"), settings, caption=caption, words=(0, 1)),
        ]
    return Section(
        "The best trials",
        "Read down a column for one trial. Where the best trials agree on a value, it is likely to matter or to be "
        "safe; where they differ, it hardly matters or depends on the others.",
        blocks,
    )


def _standard_error(record: StudyRecord) -> list[Block]:
    """How far apart scores must be before their order means something."""
    accuracy, faces = record.found["accuracy"], record.study["data"]["rows"]["validation"]
    if len(record.done) < 2 or record.objective == "nll" or not known(accuracy) or not 0 < accuracy < 1:
        return []
    error = 100 * (accuracy * (1 - accuracy) / faces) ** 0.5
    return [
        Text(
            f"On {faces:,} faces the accuracy of one trial has a standard error of {error:.1f} points, and another "
            "seed moves it too: trials that are closer together may be in any order."
        )
    ]


def top_rows(record: StudyRecord, most: int = _TOP) -> list[tuple[str, ...]]:
    """A column for each of the best trials, the best one first, and a row for what they took, had and reached."""
    order = ranked(record.trials, record.objective)
    # A trial that continued another has its settings; the better one is shown for both.
    top = order[~pd.Series(settings_numbers(order), index=order.index).duplicated()][:most]
    columns = [_trial_cells(trial, record) for _, trial in top.iterrows()]
    return [(name, *(column[name] for column in columns)) for name in columns[0]]


def _top_table(record: StudyRecord) -> list[Block]:
    rows = top_rows(record)
    trials = len(rows[0]) - 1
    shared = [row for row in rows if row[0] in record.keys and trials > 1 and len(set(row[1:])) == 1]
    caption = f"The {trials} best trials, the best one first" if trials > 1 else "The best trial"
    caption += "; CPU minutes without those of the trials that they continued" * record.rungs
    heading, *rest = (row for row in rows if row not in shared)
    blocks: list[Block] = [Table(heading, rest, caption=caption, strong=(0,), words=(0,))]
    if shared:
        values = ", ".join(f"{key} {value}" for key, value, *_ in shared)
        blocks.append(Text(f"The same in all of these: {values}."))
    return blocks


def _trial_cells(trial: pd.Series, record: StudyRecord) -> dict[str, str]:
    """Heading -> text of one trial: its score or state, its cost and its settings."""
    title = TITLES[record.objective]
    score = score_text(trial["score"], record.objective) if trial["status"] == "completed" else trial["status"]
    epochs, parameters = (None if pd.isna(trial[name]) else float(trial[name]) for name in ("epochs", "parameters"))
    return {
        "Trial": trial["trial"],
        f"{title[0].upper()}{title[1:]}{record.unit}": score,
        "Epochs": whole(epochs),
        "Parameters": millions(parameters),
        "CPU minutes": f"{trial['cpu_seconds'] / 60:.1f}" if known(trial["cpu_seconds"]) else UNKNOWN,
        **{key: _brief(trial[f"{HP}{key}"]) for key in record.keys},
    }


def _brief(value: Any) -> str:
    """A searched value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) and known(value) and value % 1 else word(value)


def _use_words(record: StudyRecord, epochs: int) -> str:
    stage = record.study["stage"]
    what = "a flat run" if stage == FLAT else f"stage {stage} of a hierarchical run"
    own = record.study["config"]["data"].get("taxonomy")
    grouping = " Give it the --taxonomy file of the search too." if isinstance(own, Mapping) else ""
    return (
        f"To train {what} with the best settings; other flags override them. They were found with {epochs} epochs; "
        f"--epochs decides how many a run has.{grouping}"
    )


def use_command(record: StudyRecord) -> str:
    """The command that trains a run with the best settings, on the data of the search."""
    study, data = record.study, record.study["config"]["data"]
    paths = study["data"]["path"]
    words = ["--mode", FLAT if study["stage"] == FLAT else "hierarchical"]
    for path in [paths] if isinstance(paths, str) else paths or ():
        words += ["--data", str(path)]
    if isinstance(data.get("taxonomy"), str) and data["taxonomy"] != "valence":
        words += ["--taxonomy", data["taxonomy"]]
    for name in ("exclude", "emotions"):
        if data.get(name):
            words += [f"--{name}", ",".join(data[name])]
    place = study["name"] if record.folder.resolve().parent == STUDIES else str(record.folder / BEST)
    return shlex.join([*COMMAND, *words, "--hyperparameters", place])


def failures_section(record: StudyRecord) -> Section:
    """Why trials failed, with equal reasons together; without blocks where none did."""
    lost = record.failed
    messages = lost["message"].where(lost["message"] != "", "no message")
    messages = messages.where(lost["status"] == "failed", "its score is not a number")
    # Messages that differ in numbers only are of one kind.
    kinds = messages.str.replace(r"\d+(\.\d+)?", "#", regex=True)
    groups = sorted((group for _, group in messages.groupby(kinds, sort=False)), key=len, reverse=True)
    rows = [(group.iloc[0], str(len(group)), _some(list(lost.loc[group.index, "trial"]))) for group in groups]
    varied = any(len(set(group)) > 1 for group in groups)
    caption = "Where numbers in a message differ, that of the first trial is shown" * varied
    return Section(
        "Failed trials",
        f"{len(lost)} of {len(record.trials)} trials ended without a score; the search continued without them.",
        [Table(("Message", "Trials", "Which"), rows, caption=caption, words=(0, 2))] if rows else [],
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + f" and {rest} more" * (rest > 0)


def trials_section(record: StudyRecord) -> Section:
    """Every trial in its order, unless there are too many."""
    trials = record.trials
    if len(trials) > MOST_LISTED:
        text = f"{len(trials)} trials are too many for this page; {TRIALS} has them all."
        return Section("All trials", "", [Text(text)])
    rows = [_trial_cells(trial, record) for _, trial in trials.iterrows()]
    strong = (trials.index.get_loc(record.found.name),) if len(record.done) else ()
    cells, caption = [tuple(row.values()) for row in rows], "All trials in their order"
    table = [Table(tuple(rows[0]), cells, caption, strong=strong, words=(0,))] if rows else []
    return Section("All trials", "", table if len(trials) > 1 else [])
