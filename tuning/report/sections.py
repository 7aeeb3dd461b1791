"""The report of a search, section by section: what was found, the way there, the best trials, importance and slices."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Code,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    titled,
)
from fer_hierarchy.hierarchy.reports.page import Block as Part
from fer_hierarchy.hierarchy.wording import duration, known, plain, whole
from fer_hierarchy.tuning.report import figures, parallel_figure
from fer_hierarchy.tuning.report.figures import TITLES
from fer_hierarchy.tuning.report.record import StudyRecord
from fer_hierarchy.tuning.report.tables import best_section, failures_section, trials_section
from fer_hierarchy.tuning.report.trials import Axis, busy_seconds, failed
from fer_hierarchy.tuning.search.study import BEST, STUDY
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.dimension import Dimension
from fer_hierarchy.tuning.space.spaces import describe

_MOST_ACROSS = 8  # hyperparameters in the parallel coordinates
_MOST_BARS = 20
_WIDE = 4.9  # inches; two such figures stand side by side


def study_page(record: StudyRecord) -> Page:
    """Draw the figures of a study and put its report together; `figures` below its folder exists."""
    study, drawn = record.study, [_progress, best_section, _importance, _slices, _parallel] if len(record.done) else []
    parts = [_summary, *drawn, failures_section, trials_section, _searched]
    data = study["data"]
    return Page(
        title=titled(f"Search for stage {study['stage']}: {record.model}, {data['dataset']}",
                     synthetic=study["synthetic"]),
        subtitle=f"Study {study['name']}: {study['search']['tuner']} search for the best {TITLES[record.objective]} "
        f"in telling {_listed(study['classes'])}.",
        banner=SYNTHETIC if study["synthetic"] else "",
        sections=[section for section in (part(record) for part in parts) if section.blocks],
    )  # fmt: skip


def _summary(record: StudyRecord) -> Section:
    blocks: list[Part] = [Warn(text) for text in _warnings(record)]
    if len(record.trials):
        blocks.append(_tiles(record))
    if len(record.done):
        blocks.append(Text(_words(record)))
    rows = record.study["data"]["rows"]
    blocks.append(
        Text(
            f"Every score on this page is of the same {rows['validation']:,} validation faces. No test face was looked "
            "at; what the settings are worth is for a run with them to say."
        )
    )
    if record.study.get("notes"):
        blocks += [Text("Notes of the search:"), Items(tuple(map(str, record.study["notes"])))]
    return Section("Summary", "", blocks)


def _warnings(record: StudyRecord) -> list[str]:
    begun, running = len(record.trials), int((record.trials["status"] == "running").sum())
    warnings = []
    if running or (record.planned and begun < record.planned):
        of = f" of {record.planned:,}" if record.planned else ""
        still = f", {running} of them not ended" if running else ""
        warnings.append(
            f"Not finished: {begun:,}{of} trials were begun{still}. --resume {record.study['name']} goes on."
        )
    if begun and not len(record.done):
        warnings.append("No trial has a score yet, so there is nothing to recommend.")
    elif record.best is None and begun:
        warnings.append(f"{BEST} is missing: the search was interrupted before it wrote down what it found.")
    elif record.best and begun and record.best["trial"] != (found := record.done.iloc[record.best_place]["trial"]):
        warnings.append(f"{BEST} holds trial {record.best['trial']}, and trial {found} is better now.")
    return warnings


def _tiles(record: StudyRecord) -> Tiles:
    tiles = []
    if len(record.done):
        best = record.done.iloc[record.best_place]
        looks = f"the best of {len(record.done):,} looks, so optimistic" if len(record.done) > 1 else "the only one"
        found = record.text(best["score"])
        tiles.append(Tile(f"Best {TITLES[record.objective]}", found, f"trial {best['trial']}; {looks}"))
        tiles.append(_again_tile(record))
    lost, running = len(failed(record.trials)), int((record.trials["status"] == "running").sum())
    rest = [f"{lost} failed", *[f"{running} running"] * bool(running)]
    rest += [f"{record.planned:,} planned"] * bool(record.planned)
    tiles.append(Tile("Trials completed", f"{len(record.done):,}", "; ".join(rest)))
    own, again = _spent(record.trials, "cpu_seconds"), _spent(record.fresh, "cpu_seconds")
    wall = busy_seconds(record.trials) + _spent(record.fresh, "seconds")
    share = f"{cpu_hours(again)} of it re-measuring; " if again else ""
    tiles.append(Tile("Cost in CPU-hours", cpu_hours(own + again), f"{share}{duration(wall)} of wall time"))
    return Tiles(tuple(tiles))


def _again_tile(record: StudyRecord) -> Tile:
    label = "Same settings, fresh seeds"
    if not record.again:
        return Tile(label, "-", "not re-measured")
    count = len(record.fresh)
    detail = f"mean ± SD of {count} trainings" if count > 1 else "one training"
    return Tile(label, f"{record.again_text}{record.unit}", f"{detail}; the figure to expect")


def _words(record: StudyRecord) -> str:
    title, count = TITLES[record.objective], len(record.done)
    best = record.done.iloc[record.best_place]
    found = record.text(best["score"])
    if count == 1:
        text = f"The only completed trial, {best['trial']}, has a {title} of {found}."
    else:
        text = (
            f"Trial {best['trial']} has the best {title} of {count:,} completed trials, {found}. It is the best of "
            f"{count:,} looks at the same faces: luck chose it too, and so the figure leans to the good side."
        )
    if not record.again:
        return f"{text} It was not trained again with fresh seeds, so how much of it is luck is not known."
    seeds = f"{len(record.fresh)} fresh seeds" if len(record.fresh) > 1 else "one fresh seed"
    return (
        f"{text} Trained anew with {seeds}, the same settings have "
        f"{record.again_text}{record.unit}. That is without the luck of "
        "the training, though still on the faces by which the settings were chosen."
    )


def _spent(table: pd.DataFrame, column: str) -> float:
    return float(table[column].fillna(0).sum())


def cpu_hours(seconds: float) -> str:
    """Seconds of processor time as hours with three digits."""
    return f"{seconds / 3600:,.0f}" if seconds >= 360_000 else f"{seconds / 3600:.3g}"


def _progress(record: StudyRecord) -> Section:
    ended = record.trials.sort_values("ended", kind="stable")
    ended = ended[ended["status"] != "running"]
    cost = ended["cpu_seconds"].fillna(0).cumsum()
    unit, size = ("hours", 3600) if cost.max() > 7200 else ("minutes", 60) if cost.max() > 120 else ("seconds", 1)
    numbers = pd.Series(np.arange(len(record.trials)), index=record.trials.index)
    ways = [("progress", "Scores by trial", numbers, "trial")]
    if cost.max() > 0:
        ways.append(("progress_cost", "Scores by what had been spent", cost / size, f"CPU-{unit} spent on trials"))
    images = []
    for name, title, places, xlabel in ways:
        with record.drawing(name, title, _WIDE, 3.7) as axes:
            _draw_progress(axes[0, 0], record, places)
            axes[0, 0].set_xlabel(xlabel)
        images.append(Image(record.figure(name), f"{title}, with the best so far", _WIDE))
    far = int(record.window.outside(record.scores).sum())
    hint = (
        "Each dot is a trial; the line is the best score so far. A long flat end says that more of the same kind of "
        "search would find little."
    )
    if record.rungs:
        hint += " Larger, darker dots had more epochs; the best of few epochs go on to more."
    if far:
        hint += " Triangles at the edge are trials far worse than these, so that the others can be told apart."
    return Section("The way there", hint, [Images(tuple(images))])


def _draw_progress(ax: Axes, record: StudyRecord, places: pd.Series) -> None:
    """One panel of the section; `places` says where each trial that has ended stands, by the index of the trials."""
    done = record.done.loc[places[places.index.isin(record.done.index)].index]
    lost = failed(record.trials)
    failures = [places[index] for index in lost.index if index in places]
    look = figures.look_of(done)
    figures.progress(
        ax,
        done,
        places[done.index].tolist(),
        window=record.window,
        look=look,
        best=done.index.get_loc(record.done.index[record.best_place]),
        failures=failures,
        fresh=record.again,
    )
    fresh = f"re-measured: {record.again_text}" if record.again else ""
    far = int(record.window.outside(record.scores).sum())
    figures.progress_legend(ax, look, failures=len(failures), far=far, fresh=fresh)


def _importance(record: StudyRecord) -> Section:
    table = record.importance
    hint = (
        "Which hyperparameters the score depends on, within the searched values: a key that was searched in a narrow "
        "range may matter outside it."
    )
    if table.empty:
        return Section("Importance", hint, [Text(f"Not shown: {table.attrs['why']}.")])
    shown = table[:_MOST_BARS]
    with record.drawing("importance", "Importance of each hyperparameter", _WIDE, 1.15 + 0.27 * len(shown)) as axes:
        figures.importances(axes[0, 0], shown)
    text = (
        f"A random forest learned the ranks of {table.attrs['trials']} trials and explains "
        f"{100 * table.attrs['skill']:.0f} % of the variance of ranks that it has not seen. A bar is the part of it "
        "that is lost when the key's value is drawn at random (more than all of it where wrong values mislead the "
        "forest); the line spans 5 to 95 % of repeated cuts. A line that reaches zero means that nothing is proven. "
        "Keys that act only together share what they explain."
    )
    text += " Ranks are among trials of as many epochs." * record.rungs
    text += f" Of {len(table)} keys the {len(shown)} most important are drawn." * (len(table) > len(shown))
    image = Image(record.figure("importance"), "Importance of the hyperparameters as bars with intervals", _WIDE)
    return Section("Importance", hint, [Text(text), Images((image,))])


def _slices(record: StudyRecord) -> Section:
    if len(record.done) < 2 or not record.axes:
        return Section("", "", [])
    half = -(-len(record.axes) // 2) if len(record.axes) > 2 else len(record.axes)
    parts = [part for part in (record.axes[:half], record.axes[half:]) if part]
    images = []
    for number, axes in enumerate(parts, 1):
        name = f"slices_{number}"
        title = "Score by hyperparameter" + f" ({number} of {len(parts)})" * (len(parts) > 1)
        width = _WIDE if len(axes) > 1 else _WIDE / 2 + 0.4
        _draw_slices(record, axes, name, title, width)
        keys = _listed([axis.key for axis in axes])
        images.append(Image(record.figure(name), f"Scores of all trials by {keys}", width))
    ordered = ", the most important first" if len(record.importance) else ""
    hint = (
        f"Each panel shows all completed trials by one hyperparameter{ordered}. A tuner that learns tries good values "
        "more often, so later (darker) dots crowd where it expects more: their number is no evidence, their height is."
    )
    return Section("Slices", hint, [Images(tuple(images))])


def _draw_slices(record: StudyRecord, axes: Sequence[Axis], name: str, title: str, width: float) -> None:
    columns = min(2, len(axes))
    rows = -(-len(axes) // columns)
    sizes = figures.look_of(record.done).sizes
    height = 0.8 + 1.75 * rows
    with record.drawing(name, title, width, height, rows=rows, columns=columns) as grid:
        for number, (ax, axis) in enumerate(zip(grid.flat, axes, strict=False)):
            figures.slice_of(
                ax, axis, record.scores, window=record.window, sizes=sizes, best=record.best_place,
                left=number % columns == 0,
            )  # fmt: skip
        for ax in grid[:, 0]:
            ax.set_ylabel(TITLES[record.objective], fontsize=7.5)
        for ax in grid.flat[len(axes) :]:
            ax.axis("off")
            ax.set_ylabel("")
        figures.slices_legend(grid[0, 0], words=any(axis.words for axis in axes), columns=2 * columns)


def _parallel(record: StudyRecord) -> Section:
    if len(record.done) < 2 or len(record.axes) < 2:
        return Section("", "", [])
    shown = record.axes[:_MOST_ACROSS]
    axes = list(shown)
    if record.rungs and not any(axis.key == "epochs" for axis in axes):
        given = Axis("epochs", record.done["epochs_asked"].to_numpy(dtype=float, na_value=0.0))
        axes += [given] * given.varied
    with record.drawing("parallel", "Settings and score of each trial", 6.6, 0.95 + 0.56 * (len(axes) + 1)) as grid:
        parallel_figure.parallel(grid[0, 0], axes, record.scores, window=record.window, best=record.best_place)
        parallel_figure.parallel_legend(grid[0, 0], record.scores)
    hint = (
        "Parallel coordinates: a line goes down through the settings of one trial and ends at its score, better to "
        "the right. Where dark lines run together, good trials agree."
    )
    left_out = len(record.axes) - len(shown)
    which = f"{len(shown)} most important" if len(record.importance) else f"first {len(shown)}"
    hint += f" Shown are the {which} hyperparameters; {left_out} are left out." * bool(left_out)
    image = Image(record.figure("parallel"), "Each trial as a line through its settings to its score", 6.6)
    return Section("Settings together", hint, [Images((image,))])


def _searched(record: StudyRecord) -> Section:
    study, search, data = record.study, record.study["search"], record.study["data"]
    groups = "; ".join(f"{name}: {', '.join(held)}" for name, held in study["taxonomy"].get("groups", {}).items())
    better = "lower" if OBJECTIVES[record.objective] == "min" else "higher"
    facts = {
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
    rows = [(name, plain(value)) for name, value in facts.items() if known(value) and value != ""]
    space = [
        (key, describe(Dimension.from_json(key, values, str(record.folder / STUDY))))
        for key, values in record.space.items()
    ]
    return Section(
        "What was searched",
        "The values that trials were drawn from, and everything else that decides a score. The command repeats it.",
        [
            Table(("Hyperparameter", "Values"), space, words=(0, 1)),
            Table(("Fact", "Value"), rows, words=(0, 1)),
            Code(study["command"]),
        ],
    )


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
