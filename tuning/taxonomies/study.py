"""A search over taxonomies: what a flat run's validation answers suggest, and what the study's study.json holds."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.data.faces import SYNTHETIC
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS as VALIDATION
from fer_hierarchy.hierarchy.runs.run_results import read_splits, refuse_evaluation
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS, FLAT, TAXONOMIES, Taxonomy
from fer_hierarchy.hierarchy.training.tuned_composition import predictions_fingerprint
from fer_hierarchy.tuning.search.study import FORMAT, STUDY
from fer_hierarchy.tuning.settings import TAXONOMY
from fer_hierarchy.tuning.taxonomies.groupings import (
    BUILT_IN,
    CONFUSION,
    OWN,
    RANDOM,
    Candidate,
    affinity,
    all_partitions,
    built_in_groupings,
    found_by_confusion,
    grouping,
    implied,
    merged,
    sizes_of,
    with_controls,
)

FIGURES = {"macro_f1": "macro_f1", "balanced_accuracy": "balanced_accuracy", "accuracy": "top1"}
_LEAST_EMOTIONS = 3  # with two there is nothing to group


@dataclass(frozen=True, kw_only=True)
class FlatPredictions:
    """What a flat run said of its validation faces.

    Attributes:
        folder: The run.
        config: Its settings.
        emotions: In class order.
        true: (n,) emotion names.
        probabilities: (n, emotions).
        synthetic: Whether any face is drawn by a program.
    """

    folder: Path
    config: RunConfig
    emotions: tuple[str, ...]
    true: np.ndarray
    probabilities: np.ndarray
    synthetic: bool


@dataclass(frozen=True, kw_only=True)
class TaxonomyStudy:
    """One search over taxonomies.

    Attributes:
        name: Folder below the studies' folder.
        run: {"name", "folder", "fingerprint"} of the flat run.
        config: Settings of every training; mode and taxonomy are those of the first candidate.
        objective: "macro_f1", "balanced_accuracy" or "accuracy".
        controls: Random groupings that were asked for.
        trained: Whether hierarchies are trained, or only the flat answers looked at.
        fraction: Share of the train faces that are used.
        emotions: In class order.
        candidates: Every grouping, random ones last.
        left_out: Built-in grouping -> why it is none.
        flat: {"n", "confusion": counts, "affinity", "scores"} of the flat run's answers.
        implied: Candidate -> what `groupings.implied` says, with "rank" and "of" among all groupings of its sizes.
        spread: Sizes ("3+4") -> the objective under implied hard routing of every grouping of these sizes.
        data: Data set, path, fingerprint and rows of the trainings; empty where nothing is trained.
        synthetic: Whether any face is drawn by a program.
        command: The command line.
        notes: What a reader of the report must know.
    """

    name: str
    run: Mapping[str, Any]
    config: RunConfig
    objective: str
    controls: int
    trained: bool
    fraction: float
    emotions: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    left_out: Mapping[str, str]
    flat: Mapping[str, Any]
    implied: Mapping[str, Mapping[str, Any]]
    spread: Mapping[str, Sequence[float]]
    data: Mapping[str, Any]
    synthetic: bool
    command: str
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> Candidate:
        """What the others are measured against: valence, or the first where it is impossible."""
        return self.candidates[0]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        record = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        candidates = [
            {"taxonomy": one.taxonomy.to_dict(), "origins": [list(origin) for origin in one.origins]}
            for one in self.candidates
        ]
        own = {"config": self.config.to_dict(), "candidates": candidates, "seed": self.config.seed}
        return {"format": FORMAT, "kind": TAXONOMY, **record, **own}


def read_taxonomy_study(folder: Path) -> TaxonomyStudy:
    """What study.json holds.

    Raises:
        UserError: It is missing, damaged, of another version, or of a search of another kind.
    """
    path = folder / STUDY
    record = run_folder.read_json(path)
    if (kind := record.get("kind")) != TAXONOMY:
        raise UserError(f"{folder.name} is a search of a {kind}, not of a taxonomy")
    if record.get("format") != FORMAT:
        raise UserError(f"{path}: format {record.get('format')!r} is not the {FORMAT} that this version reads")
    try:
        candidates = tuple(
            Candidate(
                taxonomy=Taxonomy.from_dict(one["taxonomy"], name=one["taxonomy"]["name"]),
                origins=tuple((kind, name) for kind, name in one["origins"]),
            )
            for one in record["candidates"]
        )
        plain = {field.name: record[field.name] for field in dataclasses.fields(TaxonomyStudy)}
        config = RunConfig.from_dict(record["config"], source=str(path))
        lists = {name: tuple(record[name]) for name in ("emotions", "notes")}
        return TaxonomyStudy(**{**plain, **lists, "config": config, "candidates": candidates})
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r} is missing or of the wrong kind") from error


def read_flat(folder: Path) -> FlatPredictions:
    """What a flat run said of its validation faces; its test predictions and scores are not read.

    Raises:
        UserError: No finished flat run, damaged files, or too few emotions.
    """
    refuse_evaluation(folder)
    config = run_folder.read_config(folder)
    if config.mode != FLAT:
        raise UserError(
            f"--stage taxonomy: {folder.name} is hierarchical; name a flat RUN, whose confusion is looked at"
        )
    table = _read_answers(folder)
    emotions = tuple(e for e in EMOTIONS if f"p_{e}" in table)
    _check_answers(table, emotions, folder)
    splits = read_splits(folder)
    sources = splits["source"] if "source" in splits else pd.Series(dtype=str)
    return FlatPredictions(
        folder=folder,
        config=config,
        emotions=emotions,
        true=table["true"].to_numpy(str),
        probabilities=table[[f"p_{e}" for e in emotions]].to_numpy(np.float64),
        synthetic=bool(sources.str.startswith(SYNTHETIC).any()),
    )


def _read_answers(folder: Path) -> pd.DataFrame:
    path = folder / VALIDATION
    if not path.is_file():
        raise UserError(f"{folder.name} is not finished: it has no {VALIDATION}; --mode flat --resume {folder.name}")
    try:
        return pd.read_csv(path, dtype={"row": str, "true": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}){_remedy(folder)}") from error


def _check_answers(table: pd.DataFrame, emotions: Sequence[str], folder: Path) -> None:
    path, numbers = folder / VALIDATION, [f"p_{e}" for e in emotions]
    if table.empty or not {"row", "true"} <= set(table):
        raise UserError(f"{path} is damaged: it needs rows, and the columns row, true and p_EMOTION{_remedy(folder)}")
    wrong = next((name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])), None)
    if wrong:
        raise UserError(f"{path} is damaged: column {wrong!r} holds something other than numbers{_remedy(folder)}")
    strange = table["true"][~table["true"].isin(emotions)]
    if len(strange):
        raise UserError(f"{path} is damaged: it has no column of emotion {strange.iloc[0]!r}{_remedy(folder)}")
    if len(emotions) < _LEAST_EMOTIONS:
        raise UserError(f"{folder.name} tells {len(emotions)} emotions; a grouping needs at least {_LEAST_EMOTIONS}")


def _remedy(folder: Path) -> str:
    return f"; --mode flat --resume {folder.name} writes it again"


def check_objective(objective: str) -> None:
    """Refuse what answers of different groupings are not compared by.

    Raises:
        UserError: With what would be right.
    """
    if objective not in FIGURES:
        raise UserError(f"--objective: a search over taxonomies takes {', '.join(FIGURES)}, got {objective!r}")


def plan_candidates(flat: FlatPredictions, *, controls: int, seed: int) -> tuple[list[Candidate], dict[str, str]]:
    """Every grouping that is looked at, and the built-in ones that cannot be, with the reason.

    Args:
        flat: What the groupings are made from.
        controls: Random groupings.
        seed: Of the random groupings.
    """
    built_in, left_out = built_in_groupings(flat.emotions)
    found = [(BUILT_IN, taxonomy) for taxonomy in built_in]
    found += [(OWN, taxonomy) for taxonomy in _own(flat)]
    suggested = found_by_confusion(flat.true, flat.probabilities, flat.emotions)
    found += [(CONFUSION, taxonomy) for taxonomy in suggested]
    return with_controls(merged(found), flat.emotions, count=controls, rng=np.random.default_rng(seed)), left_out


def _own(flat: FlatPredictions) -> list[Taxonomy]:
    """A taxonomy that the user made and named to the flat run; its name is kept where it can be that of a folder."""
    if not isinstance(flat.config.data.taxonomy, dict):
        return []
    taxonomy = flat.config.grouping().restrict(flat.emotions)
    taken = taxonomy.name in TAXONOMIES or re.fullmatch(rf"{FLAT}|(spectral|linkage|{RANDOM})-\d+", taxonomy.name)
    usable = re.fullmatch(r"\w[\w.+-]*", taxonomy.name) and not taken
    return [taxonomy if usable else dataclasses.replace(taxonomy, name=OWN)] if taxonomy.specialists else []


def flat_facts(flat: FlatPredictions) -> dict[str, Any]:
    """Confusion, affinity and scores of the flat run's validation answers."""
    labels = np.array([flat.emotions.index(emotion) for emotion in flat.true])
    counts = confusion_counts(labels, flat.probabilities.argmax(axis=1), len(flat.emotions))
    figures = confusion_figures(counts)
    return {
        "n": len(labels),
        "confusion": counts.tolist(),
        "affinity": affinity(flat.true, flat.probabilities, flat.emotions).tolist(),
        "scores": {name: float(figures[key]) for name, key in FIGURES.items()},
    }


def look_at_implied(
    flat: FlatPredictions, candidates: Sequence[Candidate], objective: str
) -> tuple[dict[str, dict[str, Any]], dict[str, list[float]]]:
    """What the flat answers imply for each candidate, and how it stands among all groupings of the same sizes.

    Args:
        flat: The answers.
        candidates: The groupings.
        objective: What the groupings are ranked by, under implied hard routing.

    Returns:
        Candidate -> what `implied` says with "rank" (1 is best, the better of equals) and "of"; sizes ("3+4") -> the
        objective of every grouping of these sizes.
    """
    spread: dict[str, list[float]] = {}
    looks = {}
    for candidate in candidates:
        sizes = sizes_of(candidate.taxonomy)
        key = "+".join(map(str, sizes))
        if key not in spread:
            every = (grouping(p, name="any", gate=RANDOM) for p in all_partitions(sizes, flat.emotions))
            spread[key] = [_hard(implied(flat.probabilities, flat.true, taxonomy), objective) for taxonomy in every]
        look = implied(flat.probabilities, flat.true, candidate.taxonomy)
        better = sum(value > _hard(look, objective) + 1e-12 for value in spread[key])
        looks[candidate.name] = {**look, "sizes": key, "rank": 1 + better, "of": len(spread[key])}
    return looks, spread


def _hard(look: Mapping[str, Any], objective: str) -> float:
    return look[f"hard_{objective}"]


def run_facts(flat: FlatPredictions) -> dict[str, Any]:
    """Which run the groupings were made from."""
    return {
        "name": flat.folder.name,
        "folder": str(flat.folder.resolve()),
        "fingerprint": predictions_fingerprint(flat.folder),
    }
