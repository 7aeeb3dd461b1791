"""The report of a search over the composition: what it is worth, which values carry it, what changes by emotion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.evaluation.metrics import per_class
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, mcnemar
from fer_hierarchy.hierarchy.experiments import comparison_figures
from fer_hierarchy.hierarchy.paths import CALL
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    Beside,
    Block,
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
    write_page,
)
from fer_hierarchy.hierarchy.reports.run_sections import SYNTHETIC, titled
from fer_hierarchy.hierarchy.wording import chance, decimals, known, percent, points, signed, whole
from fer_hierarchy.tuning.composition.figures import value_strip
from fer_hierarchy.tuning.composition.fit import ALL, Fitted, Parameter
from fer_hierarchy.tuning.composition.table import FLAT_ALONE, NONE, Composition
from fer_hierarchy.tuning.settings import OBJECTIVES

OBJECTIVE_WORDS = {
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "nll": "NLL",
}

_FACTOR_WORDS = {
    NONE: "soft composition (neutral)",
    FLAT_ALONE: "the flat run alone",
    "temperatures": "temperatures only",
    "priors": "prior strengths only",
    "blend": "blend only",
    ALL: "all together (chosen)",
}
_TITLES = {"macro_f1": "Macro F1 %", "balanced_accuracy": "Balanced %", "accuracy": "Top-1 %", "nll": "NLL"}
_LETTER = 0.075  # inches


@dataclass(frozen=True)
class _Shown:
    """A search, what it wrote, and where its figures go."""

    folder: Path
    found: Composition
    best: Mapping[str, Any]
    factors: pd.DataFrame
    folds: pd.DataFrame

    @property
    def worth(self) -> Mapping[str, Any]:
        """What the search is worth on faces that it has not looked at."""
        return self.best["cross_validated"]

    @property
    def measure(self) -> str:
        """What was searched by, in words."""
        return OBJECTIVE_WORDS[self.found.objective]

    @property
    def emotions(self) -> tuple[str, ...]:
        """In class order."""
        return self.found.tree.taxonomy.emotions

    @property
    def lower_is_better(self) -> bool:
        """Whether the objective is a loss."""
        return OBJECTIVES[self.found.objective] == "min"

    def score(self, value: float) -> str:
        """A score with its unit."""
        return f"{value:.4f} nats" if self.lower_is_better else percent(value)

    def change(self, value: float) -> str:
        """A difference of scores."""
        return f"{value:+.4f}" if self.lower_is_better else signed(value)

    def span(self, record: Mapping[str, float]) -> str:
        """A difference with its interval."""
        return f"{self.change(record['difference'])} ({self.change(record['low'])} to {self.change(record['high'])})"

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    def drawing(self, name: str, title: str, width: float, height: float):
        """`figures.drawing` into this study, marked where the faces are synthetic."""
        return figures.drawing(
            self.figure(name), title=title, synthetic=self.found.synthetic, width=width, height=height
        )


def write_composition_report(
    folder: Path, found: Composition, best: Mapping[str, Any], factors: pd.DataFrame, folds: pd.DataFrame
) -> None:
    """Write figures/*.png, report.md and report.html.

    Args:
        folder: Of the study.
        found: The search.
        best: What best.json holds.
        factors: trials.csv.
        folds: folds.csv.
    """
    (folder / "figures").mkdir(exist_ok=True)
    shown = _Shown(folder, found, best, factors, folds)
    sections = (_summary, _factors, _values, _emotions, _confusions, _protocol, _repeat)
    page = Page(
        title=titled(found.name, synthetic=found.synthetic),
        subtitle="A search over how the stages of a finished run are composed. Judged on validation faces.",
        banner=SYNTHETIC if found.synthetic else "",
        sections=[section(shown) for section in sections],
    )
    write_page(page, folder)


def _summary(shown: _Shown) -> Section:
    worth, measure = shown.worth, _capital(shown.measure)
    unit = "lower is better" if shown.lower_is_better else "higher is better"
    faces = f"on the same {worth['n']:,} faces"
    scale = "nats" if shown.lower_is_better else "points"
    interval = f"{scale}, 95 % interval {shown.change(worth['low'])} to {shown.change(worth['high'])}"
    blocks: list[Block] = [
        Tiles(
            (
                Tile(f"{measure}, soft", shown.score(worth["neutral"]), unit),
                Tile(f"{measure}, tuned", shown.score(worth["tuned"]), f"cross-validated, {faces}"),
                Tile("Difference", shown.change(worth["difference"]), interval),
                Tile("On the fitted faces", shown.score(shown.best["score"]), "leans to the good side"),
            )
        ),
        Text(_summary_words(shown)),
    ]
    if worth["clear"] and not worth["better"]:
        blocks.append(Warn("The search makes faces that it has not seen worse. Keep the soft composition."))
    elif not worth["better"]:
        blocks.append(Warn("No more than noise: on these faces there is no reason to prefer it to the soft one."))
    limits = {run.metrics["data"].get("limit") for run in (shown.found.tree, shown.found.flat) if run} - {None}
    if limits:
        blocks.append(Warn(f"A quick look, not a result: --limit kept at most {max(limits):,} rows of each split."))
    if shown.found.notes:
        blocks += [Text("Notes of the search:"), Items(tuple(map(str, shown.found.notes)))]
    return Section("Summary", "", blocks)


def _summary_words(shown: _Shown) -> str:
    found, worth = shown.found, shown.worth
    drawn = "synthetic validation faces" if found.synthetic else "validation faces"
    verdict = "which is more than noise" if worth["clear"] else "which may be noise: the interval holds zero"
    words = [
        f"On {worth['n']:,} {drawn} of {found.tree.folder.name}, values chosen without the face that is judged change "
        f"{shown.measure} from {shown.score(worth['neutral'])} to {shown.score(worth['tuned'])}, a difference of "
        f"{shown.span(worth)}{'' if shown.lower_is_better else ' points'}, {verdict}."
    ]
    if "flat" in worth:
        against = worth["flat"]
        standing = "more than noise" if against["clear"] else "no more than noise"
        words.append(
            f"The flat run {found.flat.folder.name} alone reaches {shown.score(against['score'])}; against it the "
            f"tuned composition differs by {shown.span(against)}, {standing}."
        )
    test = _mcnemar(shown)
    words.append(
        f"Of the faces on which soft and tuned disagree, tuned alone is right on {whole(test['b_only'])} and soft "
        f"alone on {whole(test['a_only'])} (McNemar p {chance(test['p'])}, which speaks of accuracy)."
    )
    return " ".join(words)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _mcnemar(shown: _Shown) -> dict[str, float]:
    labels = shown.found.judged.labels
    return mcnemar(*(table.argmax(axis=0) == labels for table in (shown.found.neutral, shown.found.best.answers)))


def _factors(shown: _Shown) -> Section:
    records = shown.factors.to_dict("records")
    rows = [_factor_row(shown, record) for record in records]
    scores = [_TITLES[name] for name in OBJECTIVES]
    unit = "NLL in nats" if shown.lower_is_better else "points"
    columns = ("Searched", "Values", "Fitted faces", "Difference (95 %)", *scores)
    compared = [row for row in records if row["factor"] != NONE]
    with shown.drawing("factors", f"Difference in {shown.measure}", 6.4, 1.2 + 0.3 * len(compared)) as axes:
        comparison_figures.differences(
            axes[0, 0],
            [(_FACTOR_WORDS[row["factor"]], row) for row in compared],
            xlabel="hundredths of a nat against the soft composition, lower is better"
            if shown.lower_is_better
            else "percentage points against the soft composition",
        )
    return Section(
        "What carries it",
        "Each factor searched alone with all else neutral, then all together. But for the column of fitted faces, "
        "every figure is cross-validated: a face is judged by values chosen without its fold. Grey lines hold zero.",
        [
            Table(
                columns,
                rows,
                caption=f"{_capital(shown.measure)}: score on the fitted faces, cross-validated difference "
                f"from the soft composition ({unit}), and all four scores, n = {shown.worth['n']:,}",
                strong=(len(rows) - 1,),
            ),
            Images((Image(shown.figure("factors"), f"Differences in {shown.measure} with 95 % intervals", 6.4),)),
        ],
    )


def _factor_row(shown: _Shown, row: Mapping[str, Any]) -> tuple[str, ...]:
    searched = bool(row["searched"])
    fitted = (decimals if shown.lower_is_better else points)(row["score"]) if searched else ""
    scores = [decimals(row[name]) if name == "nll" else points(row[name]) for name in OBJECTIVES]
    difference = "" if row["factor"] == NONE else shown.span(row)
    return (_FACTOR_WORDS[row["factor"]], str(row["searched"]) if searched else "", fitted, difference, *scores)


def _values(shown: _Shown) -> Section:
    best = shown.found.best
    rows = [(knob.name, *_value_cells(knob, best)) for knob in best.knobs]
    names = ["all faces", *(f"without fold {number}" for number in best.folds)]
    made = [best.made, *best.folds.values()]
    values = np.array([[knob.of(one) for knob in best.knobs] for one in made])
    offsets = np.array([[_offset(knob, knob.of(one)) for knob in best.knobs] for one in made])
    width = 1.5 + 0.68 * len(best.knobs)
    with shown.drawing("values", "Chosen values", width, 1.7 + 0.33 * len(names)) as axes:
        value_strip(axes[0, 0], values, offsets, rows=names, columns=[knob.name for knob in best.knobs])
    blocks: list[Block] = [
        Images((Image(shown.figure("values"), "Chosen values, on all faces and without each fold", width),)),
        Table(("Value", "Chosen", "Changes nothing", "Searched", "Without each fold"), rows),
    ]
    stuck = [knob.name for knob in best.knobs if knob.at_bound(best.made)]
    if stuck:
        blocks.append(Text(f"At an end of what was searched: {', '.join(stuck)}. Beyond it may be better still."))
    return Section(
        "Values",
        "A temperature above 1 lets a stage speak more softly. A prior strength above 0 lifts the rare classes of a "
        "stage. The blend is the flat run's share. Where the rows of the strip disagree, the faces do not decide that "
        "value; the colour shows the direction away from changing nothing.",
        blocks,
    )


def _value_cells(knob: Parameter, best: Fitted) -> tuple[str, ...]:
    held = [knob.of(made) for made in best.folds.values()]
    low, high = knob.bounds
    return (
        decimals(knob.of(best.made)),
        f"{knob.neutral:g}",
        f"{low:g} to {high:g}",
        f"{min(held):.3f} to {max(held):.3f}",
    )


def _offset(knob: Parameter, value: float) -> float:
    """Where a value stands between neutral (0) and the ends of its range (-1 and 1)."""
    distance = knob.coded(value) - knob.coded(knob.neutral)
    reach = max(abs(knob.coded(end) - knob.coded(knob.neutral)) for end in knob.bounds)
    return distance / reach


def _classes(shown: _Shown, answers: np.ndarray) -> list[dict]:
    return per_class(shown.found.judged.labels, answers.argmax(axis=0), shown.emotions)


def _emotions(shown: _Shown) -> Section:
    before, after = (_classes(shown, table) for table in (shown.found.neutral, shown.found.best.answers))
    rows = [_emotion_row(old, new) for old, new in zip(before, after, strict=True)]
    deltas = [
        {**new, "recall_delta": new["recall"] - old["recall"]}
        for old, new in zip(before, after, strict=True)
        if known(old["recall"])
    ]
    height = 1.5 + 0.33 * len(deltas)
    with shown.drawing("recall", "Recall by emotion", 5.2, height) as axes:
        figures.recall_deltas(axes[0, 0], deltas, a="soft", b="tuned")
    columns = ("Emotion", "Recall, soft", "tuned", "Precision, soft", "tuned", "F1, soft", "tuned", "Faces")
    return Section(
        "Emotion by emotion",
        "What some emotions win, others often lose. Cross-validated, in percent.",
        [
            Table(columns, rows),
            Images((Image(shown.figure("recall"), "Change of recall by emotion", 5.2),)),
        ],
    )


def _emotion_row(old: Mapping, new: Mapping) -> tuple[str, ...]:
    pairs = [points(row[key]) for key in ("recall", "precision", "f1") for row in (old, new)]
    return (old["class"], *pairs, whole(old["support"]))


def _confusions(shown: _Shown) -> Section:
    tables = {"soft": shown.found.neutral, "tuned": shown.found.best.answers}
    side = max(1.4 + 0.5 * len(shown.emotions), 3.0)
    images = []
    for name, table in tables.items():
        counts = confusion_counts(shown.found.judged.labels, table.argmax(axis=0), len(shown.emotions))
        with shown.drawing(f"confusion_{name}", f"Confusion, {name}", side, side - 0.15) as axes:
            figures.confusion_matrix(axes[0, 0], counts, shown.emotions)
        images.append(Images((Image(shown.figure(f"confusion_{name}"), f"Confusion of the {name} answer", side),)))
    return Section(
        "Confusion",
        "Each row is a true emotion and sums to 100 %; the small numbers are faces. Cross-validated.",
        [Beside(images)],
    )


def _protocol(shown: _Shown) -> Section:
    found, worth = shown.found, shown.worth
    kept = "persons whole" if found.judged.subjects is not None else "identical faces together"
    facts: Sequence[str] = (
        f"{worth['n']:,} validation faces in {worth['folds']} folds (stratified, {kept}, seed {found.seed}). Test "
        "predictions were not read.",
        f"Differential evolution starts from the neutral values and searches for the best {shown.measure}; a slight "
        "pull to neutral decides among values that do equally well. The chosen values are those of all faces; the "
        "cross-validated figures are those of the procedure that chose them, which saw fewer faces each time.",
        "Scores are those of all faces at once, each answered by the values chosen without its fold.",
        f"Intervals: 95 %, paired bootstrap over {'persons' if found.judged.subjects is not None else 'faces'}. They "
        "take the chosen values as given and do not correct for looking at several factors.",
        "The same validation faces chose the epoch and the calibration of every stage, so all scores here lean to the "
        "good side; calibrated on all of them, the soft composition leans more than the cross-validated answers do.",
    )
    runs = [_run_row("hierarchical", found.tree)] + ([_run_row("flat", found.flat)] if found.flat else [])
    columns = ("Role", "Run", "Data", "Fingerprint of the faces", "Seed")
    return Section("How it was judged", "", [Items(facts), Table(columns, runs, words=(0, 1, 2, 3))])


def _run_row(role: str, run) -> tuple[str, ...]:
    facts = run.facts()
    return (role, *(str(facts[key]) for key in ("run", "dataset", "data_fingerprint", "seed")))


def _repeat(shown: _Shown) -> Section:
    run, study = shown.found.tree.folder.name, shown.found.name
    use = f"{CALL} --mode evaluate {run} --data DATA --composition {study}"
    return Section(
        "How to repeat and use this",
        "The first command made this page; the second judges the chosen values on the test split of DATA, beside the "
        "soft composition.",
        [Code(shown.found.command), Code(use)],
    )
