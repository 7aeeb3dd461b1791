"""A search over taxonomies: what a flat run's validation predictions suggest, and what the study's study.json holds."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT, TAXONOMIES, Taxonomy
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
    confusion_groupings,
    grouping,
    implied,
    merged,
    sizes_of,
    with_controls,
)
from fer_hierarchy.tuning.validation_faces import FIGURES

_LEAST_EMOTIONS = 3  # with two there is nothing to group


@dataclass(frozen=True, kw_only=True)
class TaxonomyStudy:
    """One search over taxonomies; each attribute is a key of study.json.

    Attributes:
        name: Folder below the studies' folder.
        run: {"name", "folder", "fingerprint"} of the flat run.
        config: Settings of every training; mode and taxonomy are those of the first candidate.
        objective: "macro_f1", "balanced_accuracy" or "accuracy".
        controls: Random groupings that were requested.
        trained: Whether hierarchies are trained, or only the flat run's predictions are used.
        fraction: Share of the train faces that are used.
        emotions: In class order.
        candidates: Every grouping, random ones last.
        left_out: Built-in grouping -> why it is none.
        flat: {"n", "confusion": counts, "affinity", "scores"} of the flat run's predictions.
        implied: Candidate -> what `groupings.implied` returns, with "rank" and "of" among all groupings of its sizes.
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
        """What the others are compared with: valence, or the first where it is impossible."""
        return self.candidates[0]

    @property
    def everything(self) -> tuple[Candidate, ...]:
        """All candidates and, behind them where something is trained, the flat network."""
        flat = Candidate(taxonomy=self.reference.taxonomy, origins=((FLAT, FLAT),))
        return (*self.candidates, flat) if self.trained else self.candidates

    @property
    def faces(self) -> int:
        """Number of validation faces that candidates are evaluated on."""
        return self.data["rows"]["validation"] if self.trained else self.flat["n"]

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
        parsed: dict[str, Any] = {field.name: record[field.name] for field in dataclasses.fields(TaxonomyStudy)}
        parsed["config"] = RunConfig.from_dict(record["config"], source=str(path))
        parsed["candidates"] = tuple(
            Candidate(
                taxonomy=Taxonomy.from_dict(one["taxonomy"], name=one["taxonomy"]["name"]),
                origins=tuple((kind, name) for kind, name in one["origins"]),
            )
            for one in record["candidates"]
        )
        return TaxonomyStudy(**parsed | {name: tuple(record[name]) for name in ("emotions", "notes")})
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r} is missing or of the wrong kind") from error


def read_flat(folder: Path) -> Run:
    """A flat run; its test predictions are not read and its test scores not used.

    Raises:
        UserError: No finished flat run, or too few emotions.
    """
    run = Run(folder)
    run.require_networks()
    if run.config.mode != FLAT:
        raise UserError(f"--stage taxonomy: {run.name} is hierarchical; name a flat RUN, whose confusion is used")
    if len(run.classes) < _LEAST_EMOTIONS:
        raise UserError(f"{run.name} tells {len(run.classes)} emotions; a grouping needs at least {_LEAST_EMOTIONS}")
    return run


def _predictions(flat: Run) -> tuple[np.ndarray, np.ndarray]:
    """(n, emotions) probabilities and (n,) emotion names of the validation faces."""
    table = flat.validation_predictions
    return table[[f"p_{emotion}" for emotion in flat.classes]].to_numpy(np.float64), table["true"].to_numpy(str)


def plan_candidates(flat: Run, *, controls: int, seed: int) -> tuple[list[Candidate], dict[str, str]]:
    """Every grouping that is tried, and the built-in ones that cannot be, with the reason.

    Args:
        flat: The run whose validation predictions suggest groupings.
        controls: Random groupings.
        seed: Of the random groupings.

    Raises:
        UserError: Its predictions are damaged.
    """
    built_in, left_out = built_in_groupings(flat.classes)
    probabilities, true = _predictions(flat)
    suggested = confusion_groupings(true, probabilities, flat.classes)
    kinds = {BUILT_IN: built_in, OWN: _own(flat), CONFUSION: suggested}
    found = merged([(kind, taxonomy) for kind, taxonomies in kinds.items() for taxonomy in taxonomies])
    return with_controls(found, flat.classes, count=controls, rng=np.random.default_rng(seed)), left_out


def _own(flat: Run) -> list[Taxonomy]:
    """A taxonomy that the user made and named to the flat run; its name is kept where it can be that of a folder."""
    if not isinstance(flat.config.data.taxonomy, dict):
        return []
    taxonomy = flat.config.grouping().restrict(flat.classes)
    taken = taxonomy.name in TAXONOMIES or re.fullmatch(rf"{FLAT}|(spectral|linkage|{RANDOM})-\d+", taxonomy.name)
    usable = re.fullmatch(r"\w[\w.+-]*", taxonomy.name) and not taken
    return [taxonomy if usable else dataclasses.replace(taxonomy, name=OWN)] if taxonomy.specialists else []


def flat_facts(flat: Run) -> dict[str, dict[str, Any]]:
    """Which run the groupings were made from, and what its predictions show: `run` and `flat` of a study."""
    probabilities, true = _predictions(flat)
    labels = class_indices(true, flat.classes)
    counts = confusion_counts(labels, probabilities.argmax(axis=1), len(flat.classes))
    figures = confusion_figures(counts)
    return {
        "run": {
            "name": flat.name,
            "folder": str(flat.folder.resolve()),
            "fingerprint": predictions_fingerprint(flat.folder),
        },
        "flat": {
            "n": len(labels),
            "confusion": counts.tolist(),
            "affinity": affinity(true, probabilities, flat.classes).tolist(),
            "scores": {name: float(figures[key]) for name, key in FIGURES.items()},
        },
    }


def implied_facts(flat: Run, candidates: Sequence[Candidate], objective: str) -> dict[str, dict[str, Any]]:
    """What the flat run's predictions imply for each candidate, and its rank among all groupings of the same sizes.

    Args:
        flat: The run.
        candidates: The groupings.
        objective: What the groupings are ranked by, under implied hard routing.

    Returns:
        `implied` and `spread` of a study; rank 1 is best, and equals share the better rank.
    """
    key, predictions = f"hard_{objective}", _predictions(flat)
    spread: dict[str, list[float]] = {}
    found = {}
    for candidate in candidates:
        sizes = sizes_of(candidate.taxonomy)
        name = "+".join(map(str, sizes))
        if name not in spread:
            every = (grouping(parts, name="any", gate=RANDOM) for parts in all_partitions(sizes, flat.classes))
            spread[name] = [implied(*predictions, taxonomy)[key] for taxonomy in every]
        own = implied(*predictions, candidate.taxonomy)
        better = sum(value > own[key] + 1e-12 for value in spread[name])
        found[candidate.name] = {**own, "sizes": name, "rank": 1 + better, "of": len(spread[name])}
    return {"implied": found, "spread": spread}
