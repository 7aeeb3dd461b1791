"""A study to figures, report.md and one self-contained report.html, section by section."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.reports.page import (
    Block,
    Code,
    Image,
    Images,
    Items,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    facts,
    report,
    write_page,
)
from fer_hierarchy.hierarchy.wording import UNKNOWN, duration, known, whole
from fer_hierarchy.tuning.report import figures
from fer_hierarchy.tuning.report.figures import TITLES
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.report.tables import best_section, failures_section, trials_section
from fer_hierarchy.tuning.report.trials import Axis, busy_seconds
from fer_hierarchy.tuning.search.study import BEST
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.spaces import describe

_MOST_ACROSS = 8  # hyperparameters in the parallel coordinates
_MOST_BARS = 20
_WIDE = 4.9  # inches; two such figures are side by side


def write_study_report(folder: Path) -> StudyRecord:
    """Write figures/*.png, report.md and report.html of a study, finished or not.

    Args:
        folder: Its folder, with study.json; trials.csv, best.json and remeasured.csv may be absent.

    Returns:
        What the report is of.

    Raises:
        UserError: A file is damaged.
    """
    record = StudyRecord.read(folder)
    study = record.study
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    drawn = [_progress, best_section, _importance, _slices, _parallel] if len(record.done) else []
    sections = [part(record) for part in (_summary, *drawn, failures_section, trials_section, _searched)]
    title = f"Search for stage {study['stage']}: {record.model}, {study['data']['dataset']}"
    subtitle = (
        f"Study {study['name']}: {study['search']['tuner']} search for the best {TITLES[record.objective]} "
        f"in telling {_listed(study['classes'])}."
    )
    write_page(report(title, subtitle, sections, synthetic=record.synthetic), folder)
    return record


def _summary(record: StudyRecord) -> Section:
    blocks: list[Block] = [Warn(text) for text in _warnings(record)]
    if len(record.trials):
        blocks.append(_tiles(record))
    faces = record.study["data"]["rows"]["validation"]
    text = f"Every score on this page is of the same {faces:,} validation faces, by which the settings were chosen. "
    if len(record.done) > 1:
        text += (
            "The best of several scores is partly luck; trainings of the same settings with fresh seeds are without "
            "the luck of the training. "
        )
    blocks.append(Text(f"{text}No test face was used; evaluate a run with these settings to see what they are worth."))
    if record.study.get("notes"):
        blocks += [Text("Notes of the search:"), Items(tuple(map(str, record.study["notes"])))]
    return Section("Summary", "", blocks)


def _warnings(record: StudyRecord) -> list[str]:
    started, best, warnings = len(record.trials), record.best, []
    if record.running or (record.planned and started < record.planned):
        of = f" of {record.planned:,}" if record.planned else ""
        still = f", {record.running} of them not ended" if record.running else ""
        warnings.append(
            f"Not finished: {started:,}{of} trials were started{still}. Continue with --resume {record.study['name']}."
        )
    if started and not len(record.done):
        warnings.append("No trial has a score yet, so there is nothing to recommend.")
    elif started and best is None:
        warnings.append(f"{BEST} is missing: the search was interrupted before it wrote down what it found.")
    elif started and best and best["trial"] != record.found["trial"]:
        warnings.append(f"{BEST} holds trial {best['trial']}, and trial {record.found['trial']} is better now.")
    return warnings


def _tiles(record: StudyRecord) -> Tiles:
    tiles, count, fresh = [], len(record.done), len(record.fresh)
    if count:
        note = f"the best of {count:,} trials, so optimistic" if count > 1 else "the only one"
        score, title = record.text(record.found["score"]), TITLES[record.objective]
        tiles.append(Tile(f"Best {title}", score, f"trial {record.found['trial']}; {note}"))
        again = record.text(*(record.remeasured or ())[: min(fresh, 2)]) if fresh else UNKNOWN
        note = f"mean ± SD of {fresh} trainings" if fresh > 1 else "one training"
        note = f"{note}; the figure to expect" if fresh else "not re-measured"
        tiles.append(Tile("Same settings, fresh seeds", again, note))
    counts = {"failed": len(record.failed), "running": record.running or None, "planned": record.planned}
    counts = [f"{number:,} {name}" for name, number in counts.items() if number is not None]
    tiles.append(Tile("Trials completed", f"{count:,}", "; ".join(counts)))
    spent = record.fresh["cpu_seconds"].sum()
    share = f"{_cpu_hours(spent)} of it re-measuring; " if fresh else ""
    cost = _cpu_hours(record.trials["cpu_seconds"].sum() + spent)
    wall = duration(busy_seconds(record.trials) + record.fresh["seconds"].sum())
    tiles.append(Tile("Cost in CPU-hours", cost, f"{share}{wall} of wall time"))
    return Tiles(tuple(tiles))


def _cpu_hours(seconds: float) -> str:
    return f"{seconds / 3600:,.0f}" if seconds >= 360_000 else f"{seconds / 3600:.3g}"


def _progress(record: StudyRecord) -> Section:
    ended = record.trials[record.trials["status"] != "running"].sort_values("ended", kind="stable")
    cost = ended["cpu_seconds"].fillna(0).cumsum()
    unit, size = ("hours", 3600) if cost.max() > 7200 else ("minutes", 60) if cost.max() > 120 else ("seconds", 1)
    numbers = pd.Series(np.arange(len(record.trials)), index=record.trials.index)
    ways = [("progress", "Scores by trial", numbers, "trial")]
    if cost.max() > 0:
        ways.append(("progress_cost", "Scores by what had been spent", cost / size, f"CPU-{unit} spent on trials"))
    images = []
    for name, title, places, xlabel in ways:
        plot, alt = partial(_draw_progress, record, places, xlabel), f"{title}, with the best so far"
        images.append(record.draw(name, plot, title=title, width=_WIDE, height=3.7, alt=alt))
    hint = (
        "Each dot is a trial; the line is the best score so far. A long flat end means that more of the same kind of "
        "search would find little."
    )
    hint += " The darker dots had more epochs; the best of few epochs continue with more." * record.rungs
    if figures.outside(record.scores, record.limits).any():
        hint += " Triangles at the edge are trials far worse than these, so that the others can be distinguished."
    return Section("The way there", hint, [Images(tuple(images))])


def _draw_progress(record: StudyRecord, places: pd.Series, xlabel: str, ax: figures.Axes) -> None:
    """One panel of the section; `places` has where each trial that has ended is, by the index of the trials."""
    done = record.done.loc[places.index[places.index.isin(record.done.index)]]
    figures.progress(
        ax,
        done,
        places[done.index],
        record.objective,
        limits=record.limits,
        best=done.index.get_loc(record.found.name),
        failures=places[places.index.isin(record.failed.index)].tolist(),
        fresh=record.remeasured,
    )
    ax.set_xlabel(xlabel)


def _importance(record: StudyRecord) -> Section:
    table = record.importance
    hint = (
        "Which hyperparameters the score depends on, within the searched values: a key that was searched in a narrow "
        "range may matter outside it."
    )
    if table.empty:
        return Section("Importance", hint, [Text(f"Not shown: {table.attrs['why']}.")])
    shown = table[:_MOST_BARS]
    image = record.draw(
        "importance",
        lambda ax: figures.importances(ax, shown),
        title="Importance of each hyperparameter",
        alt="Importance of the hyperparameters as bars with intervals",
        width=_WIDE,
        height=1.15 + 0.27 * len(shown),
    )
    text = (
        f"A random forest was fitted to the ranks of {table.attrs['trials']} trials and explains "
        f"{100 * table.attrs['skill']:.0f} % of the variance of ranks that it has not seen. A bar is the part of it "
        "that is lost when the key's values are permuted (more than all of it where wrong values mislead the "
        "forest); the line spans 5 to 95 % of repeated cuts. A line that reaches zero means that nothing is proven. "
        "Keys that act only together share what they explain."
    )
    text += " Ranks are among trials of as many epochs." * record.rungs
    text += f" Of {len(table)} keys the {len(shown)} most important are drawn." * (len(table) > len(shown))
    return Section("Importance", hint, [Text(text), Images((image,))])


def _slices(record: StudyRecord) -> Section:
    axes = record.axes
    half = -(-len(axes) // 2) if len(axes) > 2 else len(axes)
    parts = [part for part in (axes[:half], axes[half:]) if part and len(record.done) > 1]
    images = []
    for number, part in enumerate(parts, 1):
        name, width = f"slices_{number}", _WIDE if len(part) > 1 else _WIDE / 2 + 0.4
        title = "Score by hyperparameter" + f" ({number} of {len(parts)})" * (len(parts) > 1)
        _draw_slices(record, part, name, title, width)
        images.append(Image(record.figure(name), f"Scores of all trials by {_listed([a.key for a in part])}", width))
    ordered = ", the most important first" if len(record.importance) else ""
    hint = (
        f"Each panel shows all completed trials by one hyperparameter{ordered}. Bayesian search and Hyperband try good "
        "values more often, so later (darker) dots are close together where more is expected: their number is no "
        "evidence, their height is."
    )
    return Section("Slices", hint, [Images(tuple(images))] if images else [])


def _draw_slices(record: StudyRecord, axes: Sequence[Axis], name: str, title: str, width: float) -> None:
    columns = min(2, len(axes))
    rows = -(-len(axes) // columns)
    draw = partial(figures.slice_of, limits=record.limits, best=record.best_place)
    with record.drawing(name, title, width, 0.8 + 1.75 * rows, rows=rows, columns=columns) as grid:
        for ax, axis in zip(grid.flat, axes, strict=False):
            dots = draw(ax, axis, record.scores, record.objective)
        grid[0, 0].figure.colorbar(dots, ax=grid, label="trial", aspect=40)
        figures.legend(*grid.flat)


def _parallel(record: StudyRecord) -> Section:
    axes = record.axes[:_MOST_ACROSS]
    if len(record.done) < 2 or len(record.axes) < 2:
        return Section("", "", [])
    if record.rungs and "epochs" not in record.space:
        axes.append(Axis("epochs", record.done["epochs_asked"].to_numpy(dtype=float, na_value=0.0)))
    limits, best = record.limits, record.best_place
    image = record.draw(
        "parallel",
        lambda ax: figures.parallel(ax, axes, record.scores, record.objective, limits=limits, best=best),
        title="Settings and score of each trial",
        alt="Each trial as a line through its settings to its score",
        width=2 * _WIDE,
        height=4.2,
    )
    hint = (
        "Parallel coordinates: a line goes through the settings of one trial and ends at its score. Where dark lines "
        "run together, good trials agree."
    )
    left_out = len(record.axes) - _MOST_ACROSS
    which = "most important" if len(record.importance) else "first"
    hint += f" Shown are the {_MOST_ACROSS} {which} hyperparameters; {left_out} are left out." * (left_out > 0)
    return Section("Settings together", hint, [Images((image,))])


def _searched(record: StudyRecord) -> Section:
    study, search, data = record.study, record.study["search"], record.study["data"]
    groups = "; ".join(f"{name}: {', '.join(held)}" for name, held in study["taxonomy"].get("groups", {}).items())
    better = "lower" if OBJECTIVES[record.objective] == "min" else "higher"
    settled = {
        "Stage": f"{study['stage']} ({', '.join(study['classes'])})",
        "Model": record.model,
        "Objective": f"{TITLES[record.objective]} on validation faces, {better} is better",
        "Tuner": search["tuner"],
        "Trials planned": search["max_trials"],
        "Time limit": search.get("budget"),
        "Trainings of each trial": search.get("executions"),
        "Image size of early rungs": search.get("early_size"),
        "Seed": study["seed"],
        "Data set": data["dataset"],
        "Path": data["path"],
        "Fingerprint of the faces": data["fingerprint"],
        "Train faces of the stage": whole(data["rows"]["train"]),
        "Train faces used": f"{whole(data['train_used'])} (a fraction of {search['fraction']:g})",
        "Validation faces of the stage": whole(data["rows"]["validation"]),
        "Taxonomy": f"{study['taxonomy'].get('name', '')} ({groups})",
        "Emotions left out": ", ".join(study["excluded"]) or "none",
    }
    space = [(key, describe(dimension)) for key, dimension in record.space.items()]
    return Section(
        "What was searched",
        "The values that trials were drawn from, and everything else that decides a score. The command repeats it.",
        [
            Table(("Hyperparameter", "Values"), space, "What was searched, and its values", words=(0, 1)),
            facts({name: value for name, value in settled.items() if known(value) and value != ""}),
            Code(study["command"]),
        ],
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
