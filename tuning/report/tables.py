"""The tables of a search's report: the best trials with how to use them, the failed ones, and all of them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.paths import COMMAND
from fer_hierarchy.hierarchy.reports.page import Block as Part
from fer_hierarchy.hierarchy.reports.page import Code, Section, Table, Text
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import UNKNOWN, known, millions, whole
from fer_hierarchy.tuning.report.figures import TITLES, score_text
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.report.trials import HP, failed, ranked, settings_numbers, word
from fer_hierarchy.tuning.search.study import BEST, STUDIES, TRIALS
from fer_hierarchy.tuning.space.dimension import spelled

MOST_LISTED = 40  # trials in the table of all
_TOP = 10
_PAGE = 1012  # pixels that a table may take
_DENSE = 10  # columns from which on a page sets a table in smaller letters
# Pixels of a letter, of one in a heading, and around a cell, in smaller letters and in usual ones.
_SMALL, _USUAL = (6.9, 8.2, 13.5), (7.9, 9.2, 26.0)
_FIRST = 94  # pixels that the first column takes at least


def best_section(record: StudyRecord) -> Section:
    """The best trials side by side, and the command that uses the best one; needs a completed trial."""
    blocks: list[Part] = [*_top_table(record)]
    if len(record.done) > 1 and (closeness := _closeness(record)):
        blocks.append(Text(closeness))
    if record.best:
        settings = [(key, spelled(value)) for key, value in record.best["hyperparameters"].items()]
        caption = f"The settings of trial {record.best['trial']}, as {BEST} holds them"
        blocks += [
            Text(_use_words(record)),
            Code(use_command(record)),
            Table(("Setting", "Value"), settings, caption=caption, words=(0, 1)),
        ]
    return Section(
        "The best trials",
        "Read down a column for one trial. Where the best trials agree on a value, it is likely to matter or to be "
        "safe; where they differ, it hardly matters or depends on the others.",
        blocks,
    )


def _closeness(record: StudyRecord) -> str:
    """How far apart scores must be before their order means something."""
    accuracy, faces = record.done.iloc[record.best_place]["accuracy"], record.study["data"]["rows"]["validation"]
    if record.objective == "nll" or not known(accuracy) or not 0 < accuracy < 1:
        return ""
    error = 100 * (accuracy * (1 - accuracy) / faces) ** 0.5
    return (
        f"On {faces:,} faces the accuracy of one trial has a standard error of {error:.1f} points, and another seed "
        "moves it too: trials that are closer together may stand in any order."
    )


def _top_table(record: StudyRecord) -> list[Part]:
    order = ranked(record.trials, record.objective)
    # A trial that went on from another has its settings; the better one stands for both.
    order = order[~pd.Series(settings_numbers(order), index=order.index).duplicated()]
    facts, settings = _fact_rows(record, order[:_TOP]), _setting_rows(record, order[:_TOP])
    rows = _fitting([("Trial", *order["trial"][:_TOP]), *facts, *settings])
    shared = [row for row in rows[-len(settings) :] if len(row) > 2 and len(set(row[1:])) == 1] if settings else []
    rows = [row for row in rows if row not in shared]
    count = len(rows[0]) - 1
    caption = f"The {count} best trials, the best one first" if count > 1 else "The best trial"
    caption += "; CPU minutes without those of the trials that they went on from" * record.rungs
    blocks: list[Part] = [Table(rows[0], rows[1:], caption=caption, strong=(0,), words=(0,))]
    if shared:
        blocks.append(Text("The same in all of these: " + ", ".join(f"{row[0]} {row[1]}" for row in shared) + "."))
    return blocks


def _fact_rows(record: StudyRecord, top: pd.DataFrame) -> list[tuple[str, ...]]:
    name, objective = TITLES[record.objective], record.objective
    return [
        (f"{name[0].upper()}{name[1:]}{record.unit}", *(score_text(score, objective) for score in top["score"])),
        ("Epochs", *map(_count, top["epochs"])),
        ("Parameters", *(millions(None if pd.isna(n) else float(n)) for n in top["parameters"])),
        ("CPU minutes", *(f"{s / 60:.1f}" if known(s) else UNKNOWN for s in top["cpu_seconds"])),
    ]


def _setting_rows(record: StudyRecord, top: pd.DataFrame) -> list[tuple[str, ...]]:
    keys = [axis.key for axis in record.axes]
    keys += [key for key in record.space if key not in keys and f"{HP}{key}" in top]
    return [(key, *map(brief, top[f"{HP}{key}"])) for key in keys]


def brief(value: Any) -> str:
    """A searched value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) and known(value) and value % 1 else word(value)


def _count(value: Any) -> str:
    return UNKNOWN if pd.isna(value) else whole(int(value))


def _fitting(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """As many columns as stand on a page without scrolling, at least two of three; the first row is the heading."""
    held = _columns_held(rows, *_SMALL)
    if held < _DENSE:
        held = _columns_held(rows, *_USUAL)
    return [row[: max(held, 3)] for row in rows]


def _columns_held(rows: Sequence[tuple[str, ...]], letter: float, bold: float, gap: float) -> int:
    columns = zip(*rows, strict=True)
    widths = [max(len(head) * bold, max(map(len, body)) * letter) + gap for head, *body in columns]
    widths[0] = max(widths[0], _FIRST)
    return int((np.cumsum(widths) <= _PAGE).sum())


def _use_words(record: StudyRecord) -> str:
    stage, epochs = record.study["stage"], record.best["epochs"]
    what = "a flat run" if stage == FLAT else f"stage {stage} of a hierarchical run"
    them = f"To train {what} with the best settings; other flags go over them."
    own = record.study["config"]["data"].get("taxonomy")
    grouping = " Give it the --taxonomy file of the search too." if isinstance(own, Mapping) else ""
    return f"{them} They were found with {epochs} epochs; how many a run has is for --epochs to say.{grouping}"


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
    lost = failed(record.trials)
    if lost.empty:
        return Section("", "", [])
    messages = lost["message"].where(lost["message"] != "", "no message")
    messages = messages.where(lost["status"] == "failed", "its score is no number")
    # Messages that differ in numbers only are of one kind.
    kinds = messages.map(lambda text: re.sub(r"\d+(\.\d+)?", "#", text))
    groups = sorted(messages.groupby(kinds, sort=False), key=lambda group: -len(group[1]))
    rows = [(held.iloc[0], str(len(held)), _some(list(lost.loc[held.index, "trial"]))) for _, held in groups]
    varied = any(len(set(held)) > 1 for _, held in groups)
    caption = "Where numbers in a message differ, that of the first trial is shown" if varied else ""
    return Section(
        "Failed trials",
        f"{len(lost)} of {len(record.trials)} trials ended without a score; the search went on without them.",
        [Table(("Message", "Trials", "Which"), rows, caption=caption, words=(0, 2))],
    )


def _some(names: Sequence[str], most: int = 8) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + f" and {rest} more" * (rest > 0)


def trials_section(record: StudyRecord) -> Section:
    """Every trial in its order, unless there are too many."""
    trials = record.trials
    if len(trials) < 2:
        return Section("", "", [])
    if len(trials) > MOST_LISTED:
        text = f"{len(trials)} trials are too many for this page; {TRIALS} has them all."
        return Section("All trials", "", [Text(text)])
    keys = [axis.key for axis in record.axes] if len(record.done) else []
    keys += [key for key in record.space if key not in keys and f"{HP}{key}" in trials]
    heading = ("Trial", "Score", "Epochs", "CPU min", *keys)
    rows = _fitting([heading, *(_trial_row(row, keys, record.objective) for _, row in trials.iterrows())])
    left_out = len(heading) - len(rows[0])
    caption = f"Score: {TITLES[record.objective]}{' in percent' * (record.objective != 'nll')}"
    caption += f"; {left_out} more hyperparameters are in {TRIALS}" * bool(left_out)
    strong = (list(trials.index).index(record.done.index[record.best_place]),) if len(record.done) else ()
    return Section("All trials", "", [Table(rows[0], rows[1:], caption=caption, strong=strong, words=(0,))])


def _trial_row(row: pd.Series, keys: Sequence[str], objective: str) -> tuple[str, ...]:
    score = score_text(row["score"], objective) if row["status"] == "completed" else row["status"]
    minutes = f"{row['cpu_seconds'] / 60:.1f}" if known(row["cpu_seconds"]) else UNKNOWN
    return (row["trial"], score, _count(row["epochs"]), minutes, *(brief(row[f"{HP}{key}"]) for key in keys))
