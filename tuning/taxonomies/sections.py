"""What a search over taxonomies found, section by section: scores, choice, implied answers, confusion, gates, cost."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.experiments.figures import differences as draw_differences
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import Beside, Block, Image, Images, Section, Table, Text
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import decimals, duration, known, millions, percent, points, signed, whole
from fer_hierarchy.tuning.taxonomies import figures as taxonomy_figures
from fer_hierarchy.tuning.taxonomies.groupings import RANDOM, Candidate
from fer_hierarchy.tuning.taxonomies.table import Outcome

MEASURES = {"macro_f1": "macro F1", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
_TITLES = {"macro_f1": "Macro F1 %", "balanced_accuracy": "Balanced %", "accuracy": "Top-1 %"}
_PARTS = {"difference": "", "low": "_low", "high": "_high"}  # of a difference, as columns of the table end
_ROUTED = ("Candidate", "Gate %", "Gate balanced %", "Oracle %", "Hard %", "Hard F1 %")
_ROUTED_KEYS = ("gate_accuracy", "gate_balanced_accuracy", "oracle_accuracy", "hard_accuracy", "hard_macro_f1")
_UNITS = "accuracy, where neither balanced accuracy nor F1 (macro) is named"
_LETTER = 0.075  # inches

Row = Mapping[str, Any]


class Shown:
    """A search with what its sections share."""

    def __init__(self, found: Outcome) -> None:
        self.found = found
        self.study = found.study
        self.rows: list[dict[str, Any]] = found.table.to_dict("records")

    @property
    def measure(self) -> str:
        """What was searched by, in words."""
        word = MEASURES[self.study.objective]
        return word if self.study.trained else f"{word} under implied hard routing"

    @property
    def title(self) -> str:
        """The objective at the beginning of a line."""
        word = MEASURES[self.study.objective]
        return word[0].upper() + word[1:]

    @property
    def scored(self) -> list[Row]:
        """Hierarchies that have a score, random ones included."""
        return [row for row in self.rows if known(row["score"]) and row["kind"] != FLAT]

    @property
    def serious(self) -> list[Row]:
        """Those that are no control."""
        return [row for row in self.scored if row["kind"] != RANDOM]

    @property
    def controls(self) -> list[float]:
        """Scores of the random groupings."""
        return [row["score"] for row in self.scored if row["kind"] == RANDOM]

    @property
    def best(self) -> Row:
        """The row of the best candidate."""
        return self.row(self.found.best["candidate"])

    def row(self, name: str) -> Row | None:
        """The row of an entrant that has a score."""
        return next((row for row in self.rows if row["candidate"] == name and known(row["score"])), None)

    @property
    def faces(self) -> int:
        """Validation faces that candidates are judged on."""
        return self.study.data["rows"]["validation"] if self.study.trained else self.study.flat["n"]

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.found.folder / "figures" / f"{name}.png"

    def drawing(self, name: str, title: str, width: float, height: float) -> AbstractContextManager:
        """`figures.drawing` into this study, marked where the faces are synthetic."""
        return figures.drawing(
            self.figure(name), title=title, synthetic=self.study.synthetic, width=width, height=height
        )


def has(row: Row, key: str) -> bool:
    """Whether a row of the table has a value in a column."""
    return known(row.get(key))


def ends(row: Row, key: str) -> str:
    """The interval of a difference, in points."""
    return f"{signed(row[f'{key}_low'])} to {signed(row[f'{key}_high'])}"


def span(row: Row, key: str) -> str:
    """A difference in points with its interval; nothing where there is none."""
    return f"{signed(row[key])} ({ends(row, key)})" if has(row, key) else ""


def scores_section(shown: Shown) -> Section:
    """Table and figures of the trained hierarchies; without blocks where nothing was trained."""
    if not shown.study.trained:
        return Section("Scores", "", [])
    listed = [row for row in shown.rows if known(row["score"])]
    rows = [_score_row(shown, row) for row in listed]
    first, *others = (shown.study.objective, *(name for name in MEASURES if name != shown.study.objective))
    reference = shown.study.reference.name
    titles = (_TITLES[name] for name in (first, *others))
    columns = ("Candidate", *titles, "NLL", f"from {reference}", "from flat")
    blocks: list[Block] = [
        Table(
            columns,
            rows,
            caption=f"Soft composition, n = {shown.faces:,} validation faces; {MEASURES[first]} with its 95 % "
            f"bootstrap interval, differences in {MEASURES[first]} in points, paired on the same faces",
            strong=tuple(number for number, row in enumerate(listed) if row is shown.best),
        ),
        Images((_score_image(shown), *_difference_image(shown))),
    ]
    return Section(
        "Scores",
        "Every hierarchy was trained on the same faces with the same settings and epochs for each stage. The bold row "
        "is the best that is no control. A difference whose interval holds zero is no more than noise; the intervals "
        "do not correct for comparing several.",
        blocks,
    )


def _score_row(shown: Shown, row: Row) -> tuple[str, ...]:
    others = [points(row[name]) for name in MEASURES if name != shown.study.objective]
    score = f"{points(row['score'])} ({points(row['low'])} to {points(row['high'])})"
    name = "flat network" if row["kind"] == FLAT else row["candidate"]
    return (name, score, *others, decimals(row["nll"]), span(row, "difference"), span(row, "flat_difference"))


def _score_image(shown: Shown) -> Image:
    rows = sorted(
        ({**row, "name": row["candidate"]} for row in shown.serious), key=lambda row: row["score"], reverse=True
    )
    names = max(len(row["name"]) for row in rows)
    width, height = 5.2 + _LETTER * names, 1.3 + 0.33 * (len(rows) + bool(shown.controls))
    with shown.drawing("scores", f"{shown.title} by grouping", width, height) as axes:
        taxonomy_figures.candidate_scores(
            axes[0, 0],
            rows,
            controls=shown.controls,
            flat=shown.row(FLAT),
            xlabel=f"{shown.measure} on validation faces",
        )
    return Image(shown.figure("scores"), "Scores of all groupings beside random ones and the flat network", width)


def _difference_image(shown: Shown) -> list[Image]:
    compared = [row for row in shown.rows if has(row, "difference")]
    if not compared:
        return []
    reference = shown.study.reference.name
    width = 4.2 + _LETTER * max(len(row["candidate"]) for row in compared)
    with shown.drawing(
        "differences",
        f"{shown.title} against {reference}",
        width,
        1.2 + 0.3 * len(compared),
    ) as axes:
        named = [(row["candidate"], {key: row[f"difference{end}"] for key, end in _PARTS.items()}) for row in compared]
        draw_differences(axes[0, 0], named, xlabel=f"percentage points against {reference}")
    return [Image(shown.figure("differences"), f"Differences from {reference} with 95 % intervals", width)]


def choice_section(shown: Shown) -> Section:
    """What is left of the best score where the choice was made on other faces; without blocks where that is unknown."""
    worth = shown.found.best.get("choice")
    if not worth:
        return Section("What choosing is worth", "", [])
    times: dict[str, int] = {}
    for name in worth["chosen"].values():
        times[name] = times.get(name, 0) + 1
    chosen = ", ".join(f"{name} {count} of {worth['folds']} times" for name, count in times.items())
    verdict = (
        "no more than noise"
        if worth["low"] <= 0 <= worth["high"]
        else "more than the noise of drawing faces" + ", for the worse" * (worth["difference"] < 0)
    )
    return Section(
        "What choosing is worth",
        f"The best candidate was chosen on the faces that it is judged by. Here they are cut into {worth['folds']} "
        "parts, each answered by the candidate that does best on the others, which takes that advantage away. It "
        "judges these networks: that the same faces chose their epochs remains, and whether another training of the "
        "same grouping would do as well, only other seeds can tell.",
        [
            Text(
                f"{shown.title} {percent(worth['score'])} where the candidate is chosen on other faces, against "
                f"{percent(worth['reference'])} of {shown.study.reference.name}: {signed(worth['difference'])} points "
                f"({signed(worth['low'])} to {signed(worth['high'])}), {verdict}. Chosen: {chosen}."
            )
        ],
    )


def implied_section(shown: Shown) -> Section:
    """What the flat run's answers imply for each grouping, beside every other grouping of the same sizes."""
    study = shown.study
    looks = {one.name: study.implied[one.name] for one in study.candidates}
    rows = [
        (name, *(points(look[key]) for key in _ROUTED_KEYS), f"{look['rank']} of {look['of']}")
        for name, look in looks.items()
    ]
    caption = (
        f"n = {study.flat['n']:,} validation faces of {study.run['name']}; {_UNITS}; rank by "
        f"{MEASURES[study.objective]} under hard routing among all groupings of the same sizes. The flat answer "
        f"itself: top-1 {points(study.flat['scores']['accuracy'])}, macro F1 {points(study.flat['scores']['macro_f1'])}"
    )
    return Section(
        "What the flat answer implies",
        "The flat run's probabilities, summed within groups and renormalised, are a gate and specialists that cost "
        "nothing. Composed softly they are the flat answer itself, whatever the grouping, so that only answers which "
        "choose a group can differ. Gates over other groups answer other questions: their accuracies must not be "
        "compared with each other, nor must oracle figures, which rise with the number of groups by themselves.",
        [Table((*_ROUTED, "Rank"), rows, caption=caption), Images((_spread_image(shown),))],
    )


def _spread_image(shown: Shown) -> Image:
    study, key = shown.study, f"hard_{shown.study.objective}"
    serious = [(one, study.implied[one.name]) for one in study.candidates if one.kind != RANDOM]
    marks = [{"name": one.name, "kind": one.kind, "sizes": look["sizes"], "score": look[key]} for one, look in serious]
    used = {mark["sizes"] for mark in marks}
    spread = {sizes: values for sizes, values in study.spread.items() if sizes in used}
    height = 1.2 + 0.72 * len(spread)
    with shown.drawing("implied", "Every grouping of the same sizes", 8.9, height) as axes:
        taxonomy_figures.implied_spread(
            axes[0, 0],
            spread,
            marks,
            flat=study.flat["scores"][study.objective],
            xlabel=f"{MEASURES[study.objective]} under implied hard routing",
        )
    return Image(shown.figure("implied"), "Implied scores of all groupings by their sizes, candidates marked", 8.9)


def mixing_section(shown: Shown) -> Section:
    """The tree of the emotions, and the flat run's confusion in the groups that were found."""
    study = shown.study
    images = [_confusion_image(shown, one) for one in study.candidates if one.suggested]
    height = 1.2 + 0.34 * len(study.emotions)
    with shown.drawing("tree", "Who is mixed up with whom", 5.2, height) as axes:
        taxonomy_figures.mixing_tree(axes[0, 0], study.flat["affinity"], study.emotions)
    tree = Images((Image(shown.figure("tree"), "Tree of the emotions by how much they are mixed up", 5.2),))
    return Section(
        "What the flat run mixes up",
        "The tree joins from left to right what is mixed up most; cutting it into two or three gives the groups of "
        "average linkage. Each row of a matrix is a true emotion and sums to 100 %; frames are the groups that "
        "clustering found.",
        [tree, *([Beside(images)] if images else [])],
    )


def _confusion_image(shown: Shown, one: Candidate) -> Images:
    study, name = shown.study, f"confusion_{one.name}"
    side = max(1.4 + 0.5 * len(study.emotions), 3.0)
    with shown.drawing(name, f"Confusion of the flat run, {one.name}", side, side - 0.15) as axes:
        groups = [one.taxonomy.members(group) for group in one.taxonomy.group_names]
        taxonomy_figures.framed_confusion(axes[0, 0], study.flat["confusion"], study.emotions, groups)
    return Images((Image(shown.figure(name), f"Confusion of the flat run in the groups of {one.name}", side),))


def stages_section(shown: Shown) -> Section:
    """Gates, routings and specialists of the trained hierarchies; without blocks where nothing was trained."""
    listed = [row for row in shown.scored if has(row, "gate_accuracy")]
    if not listed:
        return Section("Gates and routing", "", [])
    columns, keys = (*_ROUTED, "Soft %", "Soft F1 %"), (*_ROUTED_KEYS, "accuracy", "macro_f1")
    rows = [(row["candidate"], *(points(row[key]) for key in keys)) for row in listed]
    special = [
        (name, group, points(scores["top1"]), points(scores["balanced_accuracy"]), whole(scores["n"]))
        for name, record in shown.found.scores.items()
        if name != FLAT
        for group, scores in list(record["stages"].items())[1:]
    ]
    return Section(
        "Gates and routing",
        "Hard and soft answers tell emotions and may be compared between rows. Gates may not: each answers another "
        "question, and a gate that splits off one easy or rare emotion is right nearly always and helps nobody. Oracle "
        "figures are upper bounds that rise with the number of groups.",
        [
            Table(columns, rows, caption=f"Trained hierarchies, n = {shown.faces:,} validation faces; {_UNITS}"),
            Table(
                ("Candidate", "Specialist", "Top-1 %", "Balanced %", "Faces"),
                special,
                caption="Each specialist on all validation faces of its group, whatever the gate said",
                words=(0, 1),
            ),
        ],
    )


def cost_section(shown: Shown) -> Section:
    """What each training took; without blocks where nothing was trained."""
    listed = [row for row in shown.rows if has(row, "cpu_seconds")]
    if not listed:
        return Section("Cost", "", [])
    rows = [
        (
            "flat network" if row["kind"] == FLAT else row["candidate"],
            whole(row["stages"]),
            whole(row["faces_shown"]),
            whole(row["cpu_seconds"]),
            duration(row["seconds"]),
            millions(row["parameters"]),
            millions(row["multiply_adds"]),
        )
        for row in listed
    ]
    columns = ("Candidate", "Stages", "Faces shown", "CPU-s", "Wall", "Parameters", "Multiply-adds")
    total = sum(row["cpu_seconds"] for row in listed)
    return Section(
        "Cost",
        "Epochs are the same for every stage, cost is not: a hierarchy shows every face to its gate and, unless the "
        "group has one emotion, to a specialist as well; each stage is a network of its own, asked for every answer.",
        [Table(columns, rows, caption=f"{whole(total)} CPU-seconds of training in all; multiply-adds of one answer")],
    )
