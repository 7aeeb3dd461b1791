"""The report of a search over the composition: what it is worth, which values carry it, what changes by emotion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from fer_hierarchy.hierarchy.evaluation.metrics import per_class
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures, mcnemar
from fer_hierarchy.hierarchy.experiments.figures import differences as draw_differences
from fer_hierarchy.hierarchy.paths import CALL
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import (
    Block,
    Items,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    how_to_repeat,
    limited,
    report,
    write_page,
)
from fer_hierarchy.hierarchy.reports.tuned_section import tuned_blocks
from fer_hierarchy.hierarchy.wording import decimals, percent, points, signed, whole
from fer_hierarchy.tuning.composition.fit import ALL, differences
from fer_hierarchy.tuning.composition.runs import run_facts
from fer_hierarchy.tuning.composition.table import FLAT_ALONE, NONE, Composition
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.validation_faces import HEADINGS, MEASURES

_FACTOR, _DIFFERENCE = "Searched", "Difference (95 %)"
_FACTOR_WORDS = {
    NONE: "soft composition (neutral)",
    FLAT_ALONE: "the flat run alone",
    "temperatures": "temperatures only",
    "priors": "prior strengths only",
    "blend": "blend only",
    ALL: "all together (chosen)",
}


@dataclass(frozen=True)
class _Shown(Drawings):
    """A search and its records as they were written: best.json and trials.csv."""

    found: Composition
    best: Mapping[str, Any]
    factors: pd.DataFrame

    @property
    def worth(self) -> Mapping[str, Any]:
        """What the search is worth on faces that it was not fitted to."""
        return self.best["cross_validated"]

    @property
    def measure(self) -> str:
        """What was searched by, in words."""
        return MEASURES[self.found.objective]

    @property
    def is_loss(self) -> bool:
        """Whether lower is better."""
        return OBJECTIVES[self.found.objective] == "min"

    def score(self, value: float) -> str:
        """A score with its unit."""
        return f"{value:.4f} nats" if self.is_loss else percent(value)

    def span(self, record: Mapping[str, float]) -> str:
        """A difference of scores with its interval."""
        change, low, high = (
            f"{record[key]:+.4f}" if self.is_loss else signed(record[key]) for key in ("difference", "low", "high")
        )
        return f"{change} ({low} to {high})"


def write_composition_report(
    folder: Path, found: Composition, best: Mapping[str, Any], factors: pd.DataFrame
) -> list[Sequence[str]]:
    """Write figures/factors.png, report.md and report.html.

    Args:
        folder: Of the study.
        found: The search.
        best: What best.json holds.
        factors: trials.csv.

    Returns:
        What each factor is worth, as rows of a table, the headings first.
    """
    shown = _Shown(folder, found.synthetic, found, best, factors)
    sections = [part(shown) for part in (_summary, _factors, _tuned, _emotions, _protocol)]
    use = f"{CALL} --mode evaluate {found.tree.name} --data DATA --composition {found.name}"
    hint = "The first command made this page; the second evaluates the chosen values on the test split of DATA."
    sections.append(how_to_repeat(found.command, use, hint=hint))
    subtitle = "A search over how the stages of a finished run are composed. Evaluated on validation faces."
    write_page(report(found.name, subtitle, sections, synthetic=found.synthetic), folder)
    columns, rows = _factor_columns(shown), factors.to_dict("records")
    table = Table.of(rows, {name: columns[name] for name in (_FACTOR, HEADINGS[found.objective], _DIFFERENCE)})
    return [table.columns, *table.rows]


def _summary(shown: _Shown) -> Section:
    worth, measure = shown.worth, _capital(shown.measure)
    tuned = f"cross-validated, on the same {worth['n']:,} faces"
    change, _, interval = shown.span(worth).partition(" ")
    tiles = (
        Tile(f"{measure}, soft", shown.score(worth["neutral"]), f"{'lower' if shown.is_loss else 'higher'} is better"),
        Tile(f"{measure}, tuned", shown.score(worth["tuned"]), tuned),
        Tile("Difference", change, f"{'nats' if shown.is_loss else 'points'}, 95 % interval {interval}"),
        Tile("On the fitted faces", shown.score(shown.best["score"]), "optimistic"),
    )
    blocks: list[Block] = [Tiles(tiles), Text(_summary_words(shown))]
    if worth["clear"] and not worth["better"]:
        blocks.append(Warn("The search makes faces that it was not fitted to worse. Keep the soft composition."))
    elif not worth["better"]:
        blocks.append(Warn("No more than noise: on these faces there is no reason to prefer it to the soft one."))
    blocks += limited(run.metrics["data"].get("limit") for run in shown.found.runs.values())
    if shown.found.notes:
        blocks += [Text("Notes of the search:"), Items(tuple(map(str, shown.found.notes)))]
    return Section("Summary", "", blocks)


def _summary_words(shown: _Shown) -> str:
    found, worth = shown.found, shown.worth
    drawn = "synthetic validation faces" if found.synthetic else "validation faces"
    verdict = "more than noise" if worth["clear"] else "no more than noise: the interval holds zero"
    words = (
        f"The tuned scores on {worth['n']:,} {drawn} of {found.tree.name} are those of values chosen without "
        f"the face that is evaluated. Their difference from the soft composition is {verdict}."
    )
    if found.flat is None:
        return words
    standing = "more than noise" if worth["flat"]["clear"] else "no more than noise"
    return (
        f"{words} The flat run {found.flat.name} alone reaches {shown.score(worth['flat']['score'])}; from it "
        f"the tuned composition differs by {shown.span(worth['flat'])}, {standing}."
    )


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _factors(shown: _Shown) -> Section:
    rows = shown.factors.to_dict("records")
    compared = [(_FACTOR_WORDS[row["factor"]], row) for row in rows if row["factor"] != NONE]
    caption = (
        f"{_capital(shown.measure)}: score on the fitted faces, cross-validated difference from the soft composition "
        f"({'NLL in nats' if shown.is_loss else 'points'}), and all four scores, n = {shown.worth['n']:,}"
    )
    unit = "hundredths of a nat, lower is better" if shown.is_loss else "percentage points"
    image = shown.draw(
        "factors",
        lambda ax: draw_differences(ax, compared, xlabel=unit),
        title=f"Difference in {shown.measure} from the soft composition",
        alt=f"Differences in {shown.measure} with 95 % intervals",
        width=6.4,
        height=1.2 + 0.3 * len(compared),
    )
    return Section(
        "What carries it",
        "Each factor searched alone with all else neutral, then all together. But for the column of fitted faces, "
        "every figure is cross-validated: a face is evaluated with values chosen without its fold. Grey lines hold "
        "zero.",
        [Table.of(rows, _factor_columns(shown), caption=caption, strong=(len(rows) - 1,)), image],
    )


def _factor_columns(shown: _Shown) -> dict[str, Any]:
    fitted = decimals if shown.is_loss else points
    return {
        _FACTOR: lambda row: _FACTOR_WORDS[row["factor"]],
        "Values": lambda row: str(row["searched"] or ""),
        "Fitted faces": lambda row: fitted(row["score"]) if row["searched"] else "",
        _DIFFERENCE: lambda row: "" if row["factor"] == NONE else shown.span(row),
        **{HEADINGS[name]: (name, decimals if name == "nll" else points) for name in OBJECTIVES},
    }


def _tuned(shown: _Shown) -> Section:
    found, best, labels = shown.found, shown.found.best, shown.found.faces.labels
    predicted = [table.argmax(axis=0) for table in (found.soft, best.predictions)]
    soft, tuned = (confusion_figures(confusion_counts(labels, one, len(found.soft))) for one in predicted)
    pair = {
        "against": "soft",
        "differences": differences(found.soft, best.predictions, found.faces, seed=found.seed),
        "mcnemar": mcnemar(*(one == labels for one in predicted)),
    }
    values = [made.to_dict() for made in (best.combiner, *best.folds.values())]
    blocks = tuned_blocks(soft, {**tuned, "n": len(labels)}, pair, values)
    stuck = [one.name for one in best.parameters if one.at_bound(best.combiner)]
    if stuck:
        blocks.append(Text(f"At an end of what was searched: {', '.join(stuck)}. Beyond it may be better still."))
    return Section(
        "Tuned composition",
        "Every score is cross-validated. A temperature above 1 makes a stage less sure of itself. A prior strength "
        "above 0 lifts the rare classes of a stage. The blend is the flat run's share. Where the values without each "
        "fold lie far apart, the faces do not decide that value.",
        blocks,
    )


def _emotions(shown: _Shown) -> Section:
    labels, classes = shown.found.faces.labels, shown.found.tree.classes
    tables = (shown.found.soft, shown.found.best.predictions)
    pairs = list(zip(*(per_class(labels, table.argmax(axis=0), classes) for table in tables), strict=True))
    columns: dict[str, Any] = {
        "Emotion": lambda pair: pair[0]["class"],
        "Faces": lambda pair: whole(pair[0]["support"]),
    }
    for key, name in (("recall", "Recall"), ("precision", "Precision"), ("f1", "F1")):
        columns[f"{name}, soft"] = partial(_class_score, 0, key)
        columns[f"{name}, tuned"] = partial(_class_score, 1, key)
    hint = "What some emotions win, others often lose. Cross-validated, in percent."
    return Section("Emotion by emotion", hint, [Table.of(pairs, columns, caption="Scores of each emotion in percent")])


def _class_score(place: int, key: str, pair: tuple[Mapping[str, Any], ...]) -> str:
    return points(pair[place][key])


def _protocol(shown: _Shown) -> Section:
    found, worth = shown.found, shown.worth
    people = "faces" if found.faces.persons is None else "persons"
    together = "identical faces together" if found.faces.persons is None else "all faces of a person together"
    ranges = {one.kind: f"{one.kind} {one.bounds[0]:g} to {one.bounds[1]:g}" for one in found.best.parameters}
    facts = (
        f"{worth['n']:,} validation faces in {worth['folds']} folds (stratified, {together}, seed {found.seed}). Test "
        "predictions were not read.",
        f"Differential evolution starts from the neutral values and searches for the best {shown.measure} "
        f"({', '.join(ranges.values())}); a slight pull to neutral decides among values that do equally well. The "
        "chosen values are those of all faces; the cross-validated figures are those of the procedure that chose "
        "them, which was fitted to fewer faces each time.",
        "Scores are those of all faces at once, each predicted with the values chosen without its fold.",
        f"Intervals: 95 %, paired bootstrap over {people}. They take the chosen values as given and do not correct for "
        "several factors.",
        "The same validation faces chose the epoch and the calibration of every stage, so all scores here are "
        "optimistic; the soft composition, calibrated on all of them, more so than the cross-validated one.",
    )
    keys = ("run", "dataset", "data_fingerprint", "seed")
    roles = {"tree": "hierarchical", "flat": "flat"}
    runs = [(roles[role], *(str(run_facts(run)[key]) for key in keys)) for role, run in found.runs.items()]
    columns = ("Role", "Run", "Data", "Fingerprint of the faces", "Seed")
    return Section(
        "How it was evaluated",
        "",
        [Items(facts), Table(columns, runs, "The runs that were composed", words=(0, 1, 2, 3))],
    )
