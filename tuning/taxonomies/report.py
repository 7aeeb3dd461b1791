"""The report of a search over taxonomies: which grouping is best, by how much, and whether chance does as well."""

import shlex
from collections.abc import Mapping

from fer_hierarchy.hierarchy.paths import COMMAND, ROOT
from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Block,
    Code,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    Warn,
    titled,
    write_page,
)
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.hierarchy.wording import percent, points, signed
from fer_hierarchy.tuning.taxonomies.figures import KIND_WORDS
from fer_hierarchy.tuning.taxonomies.groupings import CONFUSION
from fer_hierarchy.tuning.taxonomies.sections import (
    Row,
    Shown,
    choice_section,
    cost_section,
    ends,
    has,
    implied_section,
    mixing_section,
    scores_section,
    span,
    stages_section,
)
from fer_hierarchy.tuning.taxonomies.table import Outcome

_METHODS = {"spectral": "spectral clustering", "linkage": "average linkage"}


def write_taxonomy_report(found: Outcome) -> None:
    """Write figures/*.png, report.md and report.html into the study's folder."""
    (found.folder / "figures").mkdir(exist_ok=True)
    shown = Shown(found)
    parts = (
        _summary,
        _candidates,
        scores_section,
        choice_section,
        implied_section,
        mixing_section,
        stages_section,
        cost_section,
        _protocol,
        _repeat,
    )
    page = Page(
        title=titled(found.study.name, synthetic=found.study.synthetic),
        subtitle="A search for the grouping of the emotions that makes the best hierarchy. Judged on validation faces.",
        banner=SYNTHETIC if found.study.synthetic else "",
        sections=[section for section in (part(shown) for part in parts) if section.blocks],
    )
    write_page(page, found.folder)


def _summary(shown: Shown) -> Section:
    blocks: list[Block] = [_tiles(shown), Text(_words(shown)), *map(Warn, _warnings(shown))]
    failed = [f"{row['candidate']}: {row['message']}" for row in shown.rows if row["status"] == "failed"]
    if failed:
        blocks += [Warn(f"{len(failed)} could not be trained:"), Items(failed)]
    if shown.study.notes:
        blocks += [Text("Notes of the search:"), Items(shown.study.notes)]
    return Section("Summary", "", blocks)


def _warnings(shown: Shown) -> list[str]:
    """What a reader of the scores must not miss."""
    study, random, warnings = shown.study, shown.found.best["random"], []
    if not study.trained:
        warnings.append(
            "Nothing was trained. What a flat network's answers imply for a grouping says how separable its groups are "
            "to that network, not how good a hierarchy over it would be."
        )
    if random["better"]:
        warnings.append(
            "Groupings that nobody thought about do better than the best one that has a reason: on these faces there "
            "is no sign that which emotions stand together decides the score."
        )
    if limit := study.config.data.limit:
        warnings.append(f"A quick look, not a result: --limit kept at most {limit:,} rows of each split.")
    return warnings


def _tiles(shown: Shown) -> Tiles:
    best, reference = shown.best, shown.row(shown.study.reference.name)
    tiles = [Tile(f"Best {shown.measure}", percent(best["score"]), f"{best['candidate']}, chosen on these faces")]
    if reference is not None and reference is not best:
        detail = f"points, 95 % interval {ends(best, 'difference')}" if has(best, "difference") else "points"
        change = signed(best["score"] - reference["score"])
        tiles += [
            Tile(f"{reference['candidate'].capitalize()}", percent(reference["score"]), "the grouping to beat"),
            Tile(f"Difference from {reference['candidate']}", change, detail),
        ]
    if shown.controls:
        low, high = (points(end) for end in (min(shown.controls), max(shown.controls)))
        tiles.append(Tile("Random groupings", f"{low} to {high} %", f"{len(shown.controls)}, of the candidates' sizes"))
    if flat := shown.row(FLAT):
        tiles.append(Tile("Flat network", percent(flat["score"]), "same settings and epochs"))
    return Tiles(tuple(tiles))


def _words(shown: Shown) -> str:
    best, study, random = shown.best, shown.study, shown.found.best["random"]
    drawn = "synthetic validation faces" if study.synthetic else "validation faces"
    words = [
        f"On {shown.faces:,} {drawn}, {best['candidate']} ({best['groups']}) has the highest {shown.measure} of "
        f"{len(shown.serious)} groupings, {percent(best['score'])}."
    ]
    if not study.trained:
        return " ".join(
            [*words, "The flat answer itself reaches " + percent(study.flat["scores"][study.objective]) + "."]
        )
    if has(best, "difference"):
        words.append(
            f"Against {study.reference.name} that is {span(best, 'difference')} points, {_verdict(best, 'difference')}."
        )
    elif best["candidate"] == study.reference.name:
        words.append("No other grouping does better.")
    words += [*_flat_words(shown), *_random_words(random)]
    words.append(
        "The best of several looks at the same faces leans to the good side; one seed each was trained, and another "
        "seed alone moves such scores too."
    )
    return " ".join(words)


def _flat_words(shown: Shown) -> list[str]:
    """How the best hierarchy stands to the flat network, and what each of them was shown."""
    best, flat = shown.best, shown.row(FLAT)
    if flat is None:
        return []
    return [
        f"Against the flat network of the same settings and epochs it is {span(best, 'flat_difference')} points, "
        f"{_verdict(best, 'flat_difference')}; its training showed {best['faces_shown']:,.0f} faces, that of the flat "
        f"network {flat['faces_shown']:,.0f}."
    ]


def _random_words(random: Mapping[str, int]) -> list[str]:
    """How many controls do better."""
    if not random["count"]:
        return []
    verb, own = "does" if random["better"] == 1 else "do", f"{random['same_sizes']} of them of its own sizes"
    return [f"{random['better']} of {random['count']} random groupings, {own}, {verb} better."]


def _verdict(row: Row, key: str) -> str:
    if row[f"{key}_low"] <= 0 <= row[f"{key}_high"]:
        return "which may be noise: the interval holds zero"
    return "more than the noise of drawing faces"


def _candidates(shown: Shown) -> Section:
    rows = [
        (one.name, "; ".join(_origin(kind, name) for kind, name in one.origins), one.text)
        for one in shown.study.candidates
    ]
    blocks: list[Block] = [Table(("Candidate", "Found by", "Groups"), rows, words=(0, 1, 2))]
    if shown.study.left_out:
        blocks += [Text("Left out:"), Items([f"{name}: {why}" for name, why in shown.study.left_out.items()])]
    blocks.append(
        Text(
            "A group of one emotion needs no specialist. An emotion that is rare gets little probability anywhere, so "
            "that it looks unlike all others, and clustering may leave it alone."
        )
    )
    return Section(
        "Candidates",
        "Clustering puts together what the flat run mixes up on validation faces. Random groupings of such sizes "
        "show what a grouping is worth that nobody thought about. The same grouping under two names is one candidate.",
        blocks,
    )


def _origin(kind: str, name: str) -> str:
    if kind != CONFUSION:
        return {"own": "the taxonomy of the flat run"}.get(kind, KIND_WORDS[kind])
    method, number = name.rsplit("-", 1)
    return f"{_METHODS[method]} into {number}"


def _protocol(shown: Shown) -> Section:
    study = shown.study
    people = "persons" if shown.found.by_person else "faces"
    facts = [
        f"Groupings come from what {study.run['name']} said of its {study.flat['n']:,} validation faces. Its test "
        "predictions and scores were not read.",
        "Affinity of two emotions: the mean probability of one on faces of the other, in both directions, averaged. "
        "Spectral clustering takes it as it is, average linkage takes 1 minus it as distance.",
        f"Random groupings are drawn evenly (seed {study.config.seed}) among those of the same sizes that are no "
        "candidate themselves.",
    ]
    if study.trained:
        used, rows = study.data["train_used"], study.data["rows"]
        facts += [
            f"Each stage was trained for {study.config.stage.epochs} epochs on the faces of its own emotions among the "
            f"same {used:,} of {rows['train']:,} train faces, with seed {study.config.seed} and the settings of the "
            "flat run unless the command says otherwise. None was tuned for a grouping.",
            f"Judged on {rows['validation']:,} validation faces. They also chose each stage's epoch and temperature, "
            "and, where the data is the flat run's, suggested the groupings; all scores lean to the good side for "
            "that. The random groupings and the flat network had the first two of these advantages as well. No test "
            "face was looked at: a hierarchy trained on the chosen grouping has to show there what it is worth.",
            f"Intervals: 95 %, bootstrap over {people}. They tell the luck of the faces, not that of a training's "
            "seed.",
        ]
    return Section("How it was judged", "", [Items(facts)])


def _repeat(shown: Shown) -> Section:
    best, folder = shown.found.best["candidate"], shown.found.folder
    place = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    words = [
        *COMMAND,
        "--mode",
        "hierarchical",
        "--taxonomy",
        str(place / "taxonomies" / f"{best}.json"),
    ]
    return Section(
        "How to repeat and use this",
        "The first command made this page; the second trains a full hierarchy over the best grouping on DATA and "
        "judges it on the test split. The folder taxonomies has a file for every candidate.",
        [Code(shown.study.command), Code(f"{shlex.join(words)} --data DATA")],
    )
