"""The report of a search over taxonomies: which grouping is best, by how much, and whether chance does as well."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from fer_hierarchy.hierarchy.paths import COMMAND, ROOT
from fer_hierarchy.hierarchy.reports import figures
from fer_hierarchy.hierarchy.reports.page import (
    Block,
    Image,
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
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import (
    decimals,
    difference,
    duration,
    known,
    millions,
    percent,
    points,
    signed,
    whole,
)
from fer_hierarchy.tuning.taxonomies.groupings import RANDOM
from fer_hierarchy.tuning.taxonomies.study import TaxonomyStudy
from fer_hierarchy.tuning.taxonomies.table import Outcome
from fer_hierarchy.tuning.validation_faces import FIGURES, HEADINGS, MEASURES

_ORIGINS = {"built-in": "built in", "own": "the taxonomy of the flat run", RANDOM: "random"}
_METHODS = {"spectral": "spectral clustering", "linkage": "average linkage"}
_ROUTED = {
    "Gate %": ("gate_accuracy", points),
    "Gate balanced %": ("gate_balanced_accuracy", points),
    "Oracle %": ("oracle_accuracy", points),
    "Hard %": ("hard_accuracy", points),
    "Hard F1 %": ("hard_macro_f1", points),
}
_UNITS = "accuracy, where neither balanced accuracy nor F1 (macro) is named"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Shown(figures.Drawings):
    """A search, and its rows of trials.csv.

    Attributes:
        found: The search.
        rows: Those that have a score.
    """

    found: Outcome
    rows: Sequence[Row]

    @property
    def study(self) -> TaxonomyStudy:
        """What was searched."""
        return self.found.study

    @property
    def measure(self) -> str:
        """What was searched by, in words."""
        return MEASURES[self.study.objective] + " under implied hard routing" * (not self.study.trained)

    @property
    def best(self) -> Row:
        """The row of the best candidate."""
        return next(row for row in self.rows if row["candidate"] == self.found.best["candidate"])

    def row(self, name: str) -> Row | None:
        """The row of a candidate, or of the flat network, where it has a score."""
        return next((row for row in self.rows if row["candidate"] == name), None)


def write_taxonomy_report(found: Outcome) -> None:
    """Write figures/*.png, report.md and report.html into the study's folder."""
    study, rows = found.study, found.table.to_dict("records")
    scored = [row for row in rows if known(row["score"])]
    shown = _Shown(found.folder, study.synthetic, found, scored)
    trained = [_scores, _stages, _cost] if study.trained else []
    parts = [_summary, _candidates, *trained[:1], _choice, _implied, _mixing, *trained[1:], _protocol]
    sections = [part(shown) for part in parts]
    place = found.folder.relative_to(ROOT) if found.folder.is_relative_to(ROOT) else found.folder
    best = str(place / "taxonomies" / f"{found.best['candidate']}.json")
    train = [*COMMAND, "--mode", "hierarchical", "--taxonomy", best, "--data", "DATA"]
    hint = (
        "The first command made this page; the second trains a full hierarchy over the best grouping on DATA and "
        "evaluates it on the test split. The folder taxonomies has a file for every candidate."
    )
    sections.append(how_to_repeat(study.command, shlex.join(train), hint=hint))
    subtitle = "A search for the grouping of the emotions that makes the best hierarchy. Evaluated on validation faces."
    write_page(report(study.name, subtitle, sections, synthetic=study.synthetic), found.folder)


def score_rows(found: Outcome) -> list[Sequence[str]]:
    """Groupings, scores and differences as rows of a table, the headings first and the best before others."""
    study, table = found.study, found.table
    columns = {
        "candidate": _name,
        "groups": ("groups", str),
        f"{'' if study.trained else 'implied '}{HEADINGS[study.objective]}": ("score", points),
    }
    if study.trained:
        columns[f"from {study.reference.name}"] = lambda row: _span(row, "difference")
    scored = table[table["score"].notna()].sort_values("score", ascending=False, kind="stable")
    made = Table.of(scored.to_dict("records"), columns)
    return [made.columns, *made.rows]


def _name(row: Row) -> str:
    return "flat network" if row["candidate"] == FLAT else row["candidate"]


def _span(row: Row, key: str) -> str:
    """A difference in points with its interval; nothing where there is none."""
    if not known(row.get(key)):
        return ""
    return f"{signed(row[key])} ({signed(row[f'{key}_low'])} to {signed(row[f'{key}_high'])})"


def _is_noise(low: float, high: float) -> str:
    return "no more than noise: the interval holds zero" if low <= 0 <= high else "more than the noise of drawing faces"


def _summary(shown: _Shown) -> Section:
    study, random = shown.study, shown.found.best["random"]
    blocks: list[Block] = [Tiles(_tiles(shown)), Text(_words(shown))]
    if not study.trained:
        blocks.append(
            Warn(
                "Nothing was trained. What a flat network's predictions imply for a grouping shows how separable its "
                "groups are to that network, not how good a hierarchy over it would be."
            )
        )
    if random["better"]:
        blocks.append(
            Warn(
                "Random groupings do better than the best one that has a reason: on these faces there is no sign that "
                "which emotions stand together decides the score."
            )
        )
    blocks += limited([study.config.data.limit])
    table = shown.found.table
    if len(lost := table[table["score"].isna()]):
        failed = [f"{name}: {message}" for name, message in zip(lost["candidate"], lost["message"], strict=True)]
        blocks += [Warn(f"{len(failed)} could not be trained:"), Items(failed)]
    if study.notes:
        blocks += [Text("Notes of the search:"), Items(study.notes)]
    return Section("Summary", "", blocks)


def _tiles(shown: _Shown) -> list[Tile]:
    best, reference, flat = shown.best, shown.row(shown.study.reference.name), shown.row(FLAT)
    tiles = [Tile(f"Best {shown.measure}", percent(best["score"]), f"{best['candidate']}, chosen on these faces")]
    if reference is not None and reference is not best:
        tiles.append(Tile(reference["candidate"].capitalize(), percent(reference["score"]), "the grouping to beat"))
    if controls := [row["score"] for row in shown.rows if row["kind"] == RANDOM]:
        span = f"{points(min(controls))} to {points(max(controls))} %"
        tiles.append(Tile("Random groupings", span, f"{len(controls)}, of the candidates' sizes"))
    if flat is not None:
        tiles.append(Tile("Flat network", percent(flat["score"]), "same settings and epochs"))
    return tiles


def _words(shown: _Shown) -> str:
    best, study, random = shown.best, shown.study, shown.found.best["random"]
    serious = sum(row["kind"] not in (RANDOM, FLAT) for row in shown.rows)
    words = [
        f"On {study.faces:,} {'synthetic ' * study.synthetic}validation faces, {best['candidate']} ({best['groups']}) "
        f"has the highest {shown.measure} of {serious} groupings, {percent(best['score'])}."
    ]
    for key, other in (("difference", study.reference.name), ("flat_difference", "the flat network")):
        if known(best.get(key)):
            verdict = _is_noise(best[f"{key}_low"], best[f"{key}_high"])
            words.append(f"Against {other} that is {_span(best, key)} points, {verdict}.")
    if random["count"]:
        words.append(
            f"{random['better']} of {random['count']} random groupings, {random['same_sizes']} of them of its own "
            f"sizes, {'does' if random['better'] == 1 else 'do'} better."
        )
    optimism = "The best of several scores on the same faces is optimistic"
    seeds = "; one seed each was trained, and another seed alone changes such scores too" * study.trained
    return " ".join([*words, f"{optimism}{seeds}."])


def _candidates(shown: _Shown) -> Section:
    columns = {
        "Candidate": lambda one: one.name,
        "Found by": lambda one: "; ".join(_origin(*origin) for origin in one.origins),
        "Groups": lambda one: one.text,
    }
    blocks: list[Block] = [Table.of(shown.study.candidates, columns, caption="The groupings", words=(0, 1, 2))]
    if shown.study.left_out:
        blocks += [Text("Left out:"), Items([f"{name}: {why}" for name, why in shown.study.left_out.items()])]
    return Section(
        "Candidates",
        "Clustering puts together what the flat run mixes up on validation faces; an emotion that is rare gets little "
        "probability anywhere, and clustering may leave it alone. Random groupings of such sizes show what a grouping "
        "without a reason is worth. The same grouping under two names is one candidate.",
        blocks,
    )


def _origin(kind: str, name: str) -> str:
    if kind in _ORIGINS:
        return _ORIGINS[kind]
    method, number = name.rsplit("-", 1)
    return f"{_METHODS[method]} into {number}"


def _scores(shown: _Shown) -> Section:
    objective = shown.study.objective
    others = [name for name in FIGURES if name != objective]
    columns = {
        "Candidate": _name,
        HEADINGS[objective]: lambda row: f"{points(row['score'])} ({points(row['low'])} to {points(row['high'])})",
        **{HEADINGS[name]: (name, points) for name in others},
        "NLL": ("nll", decimals),
        f"from {shown.study.reference.name}": lambda row: _span(row, "difference"),
        "from flat": lambda row: _span(row, "flat_difference"),
    }
    caption = (
        f"Soft composition, n = {shown.study.faces:,} validation faces; {MEASURES[objective]} with its 95 % bootstrap "
        f"interval, differences in {MEASURES[objective]} in points, paired on the same faces"
    )
    records = {_name(row): shown.found.scores[row["candidate"]] for row in shown.rows}
    scores = [(name, record["answers"][record["headline"]]) for name, record in records.items()]
    return Section(
        "Scores",
        "Every hierarchy was trained on the same faces with the same settings and epochs for each stage. The bold row "
        "is the best that is no control. A difference whose interval holds zero is no more than noise; the intervals "
        "do not correct for comparing several.",
        [
            Table.of(shown.rows, columns, caption=caption, strong=(shown.rows.index(shown.best),)),
            shown.draw(
                "scores",
                lambda ax: figures.intervals(ax, scores),
                title="Scores by grouping",
                alt="Scores of all groupings beside random ones and the flat network, with 95 % intervals",
                width=7.2,
                height=1.0 + 0.42 * len(scores),
            ),
        ],
    )


def _choice(shown: _Shown) -> Section:
    """What is left of the best score where the choice was made on other faces; without blocks if that is unknown."""
    worth, measure = shown.found.best.get("choice"), MEASURES[shown.study.objective]
    if not worth:
        return Section("What choosing is worth", "", [])
    times = Counter(worth["chosen"].values())
    chosen = ", ".join(f"{name} {count} of {worth['folds']} times" for name, count in times.items())
    return Section(
        "What choosing is worth",
        f"The best candidate was chosen on the faces that it is evaluated on. Here they are cut into {worth['folds']} "
        "parts, each predicted by the candidate that does best on the others, which takes that advantage away. What "
        "remains is that the same faces chose the epochs of these networks; whether another training of the same "
        "grouping would do as well, only other seeds can show.",
        [
            Text(
                f"{measure[0].upper()}{measure[1:]} {percent(worth['score'])} where the candidate is chosen on other "
                f"faces, against {percent(worth['reference'])} of {shown.study.reference.name}: "
                f"{difference(worth)} points, {_is_noise(worth['low'], worth['high'])}. Chosen: {chosen}."
            )
        ],
    )


def _implied(shown: _Shown) -> Section:
    study, measure = shown.study, MEASURES[shown.study.objective]
    looks = [{"name": one.name, **study.implied[one.name]} for one in study.candidates]
    columns = {"Candidate": ("name", str), **_ROUTED, "Rank": lambda look: f"{look['rank']} of {look['of']}"}
    caption = (
        f"n = {study.flat['n']:,} validation faces of {study.run['name']}; {_UNITS}; rank by {measure} under hard "
        "routing among all groupings of the same sizes. The flat prediction itself: top-1 "
        f"{points(study.flat['scores']['accuracy'])}, macro F1 {points(study.flat['scores']['macro_f1'])}"
    )
    spread = {
        "Sizes": lambda item: item[0].replace("+", " + "),
        "Groupings": lambda item: whole(len(item[1])),
        "Lowest %": lambda item: points(min(item[1])),
        "Median %": lambda item: points(float(np.median(item[1]))),
        "Highest %": lambda item: points(max(item[1])),
    }
    every = f"Every grouping of the same sizes: {measure} under implied hard routing"
    return Section(
        "What the flat prediction implies",
        "The flat run's probabilities, summed within groups and renormalised, are a gate and specialists that cost "
        "nothing. Composed softly they are the flat prediction itself, whatever the grouping, so that only routings "
        "that choose a group can differ. Gates over other groups solve other problems: their accuracies must not be "
        "compared with each other, nor must oracle figures, which rise with the number of groups by themselves.",
        [Table.of(looks, columns, caption=caption), Table.of(study.spread.items(), spread, caption=every)],
    )


def _mixing(shown: _Shown) -> Section:
    """The tree of the emotions beside the flat run's confusion, both in the order of the tree."""
    emotions, distances = shown.study.emotions, 1 - np.asarray(shown.study.flat["affinity"], dtype=float)
    tree = linkage(squareform(distances, checks=False), method="average")
    height = max(1.4 + 0.5 * len(emotions), 3.0)
    width = 1.8 * height
    with shown.drawing("mixing", "Which emotions are mixed up", width, height, columns=2, shares=(2, 3)) as axes:
        left, right = axes[0]
        style = {"color_threshold": 0, "above_threshold_color": figures.INK, "leaf_font_size": "medium"}
        drawn = dendrogram(tree, ax=left, orientation="left", labels=list(emotions), **style)
        left.set(xlabel="average distance", ylim=(10 * len(emotions), 0))
        left.spines["left"].set_visible(False)
        order = drawn["leaves"]
        confusion = np.asarray(shown.study.flat["confusion"])[np.ix_(order, order)].tolist()
        figures.confusion_matrix(right, confusion, [emotions[place] for place in order])
    return Section(
        "What the flat run mixes up",
        "Branches that meet at a short distance are mixed up most; cutting the tree into two or three gives the groups "
        "of average linkage. Distance is 1 minus the mean probability of one emotion on faces of the other. Each row "
        "of the matrix is a true emotion and sums to 100 %.",
        [Image(shown.figure("mixing"), "Tree of the emotions by how much they are mixed up, and confusion", width)],
    )


def _stages(shown: _Shown) -> Section:
    trees = [row for row in shown.rows if row["candidate"] != FLAT]
    columns = {"Candidate": _name, **_ROUTED, "Soft %": ("accuracy", points), "Soft F1 %": ("macro_f1", points)}
    return Section(
        "Gates and routing",
        "Hard and soft scores are of emotions and may be compared between rows. Gates may not: each solves another "
        "problem, and a gate that splits off one easy or rare emotion is nearly always right and of no use. Oracle "
        "figures are upper bounds that rise with the number of groups. The scores of each specialist are in "
        "candidates/NAME/scores.json.",
        [Table.of(trees, columns, caption=f"n = {shown.study.faces:,} validation faces; {_UNITS}")],
    )


def _cost(shown: _Shown) -> Section:
    columns = {
        "Candidate": _name,
        "Stages": ("stages", whole),
        "Faces shown": ("faces_shown", whole),
        "CPU-s": ("cpu_seconds", whole),
        "Wall": ("seconds", duration),
        "Parameters": ("parameters", millions),
        "Multiply-adds": ("multiply_adds", millions),
    }
    total = whole(sum(row["cpu_seconds"] for row in shown.rows))
    return Section(
        "Cost",
        "Epochs are the same for every stage, cost is not: a hierarchy shows every face to its gate and, unless the "
        "group has one emotion, to a specialist as well; each stage is a network of its own that predicts every face.",
        [Table.of(shown.rows, columns, caption=f"{total} CPU-seconds of training in all; multiply-adds of one face")],
    )


def _protocol(shown: _Shown) -> Section:
    study = shown.study
    facts = [
        f"Groupings come from the predictions of {study.run['name']} for its {study.flat['n']:,} validation faces. Its "
        "test predictions were not read, its test scores not used.",
        "Spectral clustering takes the affinity of two emotions: the mean probability of one on faces of the other, "
        "in both directions, averaged. Average linkage takes 1 minus it as distance.",
        f"Random groupings are drawn evenly (seed {study.config.seed}) among those of the same sizes that are no "
        "candidate themselves.",
    ]
    if study.trained:
        rows, people = study.data["rows"], "persons" if shown.found.by_person else "faces"
        facts += [
            f"Each stage was trained for {study.config.stage.epochs} epochs on the faces of its own emotions among the "
            f"same {study.data['train_used']:,} of {rows['train']:,} train faces, with seed {study.config.seed} and "
            "the settings of the flat run unless the command changes them. None was tuned for a grouping.",
            f"Evaluated on {rows['validation']:,} validation faces. They also chose each stage's epoch and "
            "temperature, and, where the data is the flat run's, suggested the groupings; all scores are optimistic "
            "for that. The random groupings and the flat network had the first two of these advantages as well. No "
            "test face was used: a hierarchy trained on the chosen grouping has to show there what it is worth.",
            f"Intervals: 95 %, bootstrap over {people}. They cover the choice of faces, not the seed of a training.",
        ]
    return Section("How it was evaluated", "", [Items(facts)])
