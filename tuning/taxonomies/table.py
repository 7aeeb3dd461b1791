"""What a search over taxonomies found, as tables and as records that JSON can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.splits import fold_numbers
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import confusion_counts, confusion_figures, paired_bootstrap
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS as VALIDATION
from fer_hierarchy.hierarchy.runs.run_results import read_splits
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.tuning.search.study import FORMAT
from fer_hierarchy.tuning.settings import TAXONOMY
from fer_hierarchy.tuning.taxonomies.groupings import RANDOM, in_words
from fer_hierarchy.tuning.taxonomies.study import FIGURES, TaxonomyStudy
from fer_hierarchy.tuning.taxonomies.training import CANDIDATES, failure, read_scores

FOLDS = 5
_COUNTS = ("implied_rank", "implied_of", "faces_shown", "parameters", "multiply_adds")


@dataclass(frozen=True, kw_only=True)
class ValidationPredictions:
    """What all trained entrants answer to the same n validation faces.

    Attributes:
        labels: (n,) index of each face's emotion.
        answers: Entrant -> (n,) index of its answer.
        faces: The faces' rows of splits.csv, in the same order.
        subjects: (n,) person of each face, None where nobody is known.
    """

    labels: np.ndarray
    answers: Mapping[str, np.ndarray]
    faces: pd.DataFrame
    subjects: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A search that is done.

    Attributes:
        study: What was searched.
        folder: The study's folder.
        scores: Entrant -> scores.json, those that failed left out.
        table: trials.csv.
        best: best.json; empty where no candidate has a score.
        by_person: Whether intervals draw whole persons.
    """

    study: TaxonomyStudy
    folder: Path
    scores: Mapping[str, Mapping[str, Any]]
    table: pd.DataFrame
    best: Mapping[str, Any]
    by_person: bool


def outcome(study: TaxonomyStudy, folder: Path) -> Outcome:
    """Bring together what is in a study's folder."""
    names = [FLAT, *(candidate.name for candidate in study.candidates)]
    read = {name: read_scores(folder / CANDIDATES / name) for name in names}
    scores = {name: record for name, record in read.items() if record is not None}
    judged = read_judged(study, folder, list(scores)) if scores else None
    table = candidate_table(study, folder, scores, judged)
    return Outcome(
        study=study,
        folder=folder,
        scores=scores,
        table=table,
        best=best_record(study, table, judged),
        by_person=judged is not None and judged.subjects is not None,
    )


def read_judged(study: TaxonomyStudy, folder: Path, names: Sequence[str]) -> ValidationPredictions:
    """The answers of some entrants, aligned by face."""
    index = {emotion: place for place, emotion in enumerate(study.emotions)}
    read = {name: _read_answers(folder / CANDIDATES / name / VALIDATION) for name in names}
    first = read[names[0]]
    splits = read_splits(folder)
    faces = splits[splits["split"] == "validation"].set_index("row").loc[first.index]
    return ValidationPredictions(
        labels=first["true"].map(index).to_numpy(np.int64),
        answers={
            name: table.loc[first.index, "predicted"].map(index).to_numpy(np.int64) for name, table in read.items()
        },
        faces=faces,
        subjects=_subjects(faces),
    )


def _read_answers(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"row": str}, keep_default_na=False).set_index("row")


def _subjects(faces: pd.DataFrame) -> np.ndarray | None:
    """(n,) person of each face, one of its own where nobody is named; None where nobody is known at all."""
    if not (faces["subject"] != "").any():
        return None
    named = faces["source"] + "/" + faces["subject"]
    return named.where(faces["subject"] != "", faces.index.to_series()).to_numpy(object)


def candidate_table(
    study: TaxonomyStudy, folder: Path, scores: Mapping[str, Mapping[str, Any]], judged: ValidationPredictions | None
) -> pd.DataFrame:
    """trials.csv: the candidates in order, and the flat yardstick behind them where something was trained.

    `score` is the objective of the soft composition on validation faces, or of implied hard routing where nothing was
    trained; `difference` is that of the trained score from the reference's.
    """
    rows = []
    for candidate in study.candidates:
        row = {
            "candidate": candidate.name,
            "kind": candidate.kind,
            "origins": " = ".join(name for _, name in candidate.origins),
            "groups": in_words(candidate.taxonomy),
            "stages": len(candidate.taxonomy.stages("hierarchical")),
        }
        rows.append(
            {**row, **_measured(study, folder, candidate.name, scores, judged), **_looked(study, candidate.name)}
        )
    if study.trained:
        row = {"candidate": FLAT, "kind": FLAT, "origins": FLAT, "groups": " ".join(study.emotions), "stages": 1}
        rows.append({**row, **_measured(study, folder, FLAT, scores, judged)})
    table = pd.DataFrame(rows)
    counts = [name for name in _COUNTS if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))  # a whole number stays whole where another row has none


def _measured(
    study: TaxonomyStudy,
    folder: Path,
    name: str,
    scores: Mapping[str, Mapping[str, Any]],
    judged: ValidationPredictions | None,
) -> dict[str, Any]:
    """What training one entrant gave."""
    if not study.trained:
        look = study.implied[name]
        return {"status": "looked at", "score": look[f"hard_{study.objective}"]}
    if name not in scores:
        return {"status": "failed", "score": None, "message": failure(folder / CANDIDATES / name)}
    record = scores[name]
    answer, stages = record["answers"][record["headline"]], record["stages"]
    measure, gate = FIGURES[study.objective], next(iter(stages.values()))
    low, high = answer["intervals"][measure]
    row = {"status": "completed", "score": answer[measure], "low": low, "high": high}
    row |= {objective: answer[key] for objective, key in FIGURES.items()} | {"nll": answer["nll"]}
    row |= _differences(study, name, judged)
    if name != FLAT:
        row |= {f"hard_{objective}": record["answers"]["hard"][key] for objective, key in FIGURES.items()}
        row |= {"oracle_accuracy": record["answers"]["oracle"]["top1"]}
        row |= {"gate_accuracy": gate["top1"], "gate_balanced_accuracy": gate["balanced_accuracy"]}
    return row | record["cost"] | {"stages": record["cost"]["stages"], "message": ""}


def _differences(study: TaxonomyStudy, name: str, judged: ValidationPredictions) -> dict[str, float]:
    """The objective minus that of the reference, and minus that of the flat yardstick, each with its interval."""
    row = {}
    for prefix, other in (("difference", study.reference.name), ("flat_difference", FLAT)):
        if other in judged.answers and other != name:
            found = paired(study, judged, judged.answers[other], judged.answers[name])
            row |= {prefix: found["difference"], f"{prefix}_low": found["low"], f"{prefix}_high": found["high"]}
    return row


def paired(
    study: TaxonomyStudy, judged: ValidationPredictions, before: np.ndarray, after: np.ndarray
) -> dict[str, float]:
    """The objective of the second answers minus that of the first on the same faces, with its interval."""
    draw = {"resamples": study.config.evaluation.resamples, "seed": study.config.seed, "groups": judged.subjects}
    return paired_bootstrap(judged.labels, before, after, len(study.emotions), **draw)[FIGURES[study.objective]]


def _looked(study: TaxonomyStudy, name: str) -> dict[str, Any]:
    return {f"implied_{key}": value for key, value in study.implied[name].items() if key not in ("n", "specialists")}


def best_record(study: TaxonomyStudy, table: pd.DataFrame, judged: ValidationPredictions | None) -> dict[str, Any]:
    """What best.json holds; empty where no candidate has a score.

    Random groupings are there to be compared with: they are never the answer, but how many of them do better is told.
    """
    scored = table[table["score"].notna() & (table["kind"] != FLAT)]
    serious, random = scored[scored["kind"] != RANDOM], scored[scored["kind"] == RANDOM]
    if serious.empty:
        return {}
    found = serious.loc[serious["score"].idxmax()]
    taxonomy = next(one.taxonomy for one in study.candidates if one.name == found["candidate"])
    sizes = study.implied[taxonomy.name]["sizes"]
    return {
        "format": FORMAT,
        "kind": TAXONOMY,
        "study": study.name,
        "candidate": taxonomy.name,
        "taxonomy": taxonomy.to_dict(),
        "objective": study.objective,
        "score": float(found["score"]),
        "trained": study.trained,
        "reference": study.reference.name,
        "random": {
            "count": len(random),
            "better": int((random["score"] > found["score"]).sum()),
            "same_sizes": sum(study.implied[name]["sizes"] == sizes for name in random["candidate"]),
        },
        "choice": choice_worth(study, judged, list(serious["candidate"])) if judged else None,
        "run": dict(study.run),
        "data": dict(study.data),
        "seed": study.config.seed,
    }


def choice_worth(study: TaxonomyStudy, judged: ValidationPredictions, names: Sequence[str]) -> dict[str, Any] | None:
    """What choosing the best candidate is worth: each face is answered by the one that does best on the other folds.

    Args:
        study: What was searched.
        judged: The answers.
        names: Candidates to choose among.

    Returns:
        {"n", "folds", "chosen": fold -> candidate, "score", "reference": its score, "difference", "low", "high"}; None
        where there is nothing to choose, no reference, or too few faces of an emotion for two folds.
    """
    reference = judged.answers.get(study.reference.name)
    folds = _folds(judged.faces, study.config.seed)
    if folds is None or reference is None or len(names) < 2:
        return None
    chosen, answers = {}, np.empty_like(judged.labels)
    for number in np.unique(folds):
        held = folds == number
        scores = {name: _score(study, judged.labels[~held], judged.answers[name][~held]) for name in names}
        chosen[str(number)] = max(scores, key=scores.get)
        answers[held] = judged.answers[chosen[str(number)]][held]
    return {
        "n": len(answers),
        "folds": int(folds.max()),
        "chosen": chosen,
        "score": _score(study, judged.labels, answers),
        "reference": _score(study, judged.labels, reference),
        **paired(study, judged, reference, answers),
    }


def _score(study: TaxonomyStudy, labels: np.ndarray, answers: np.ndarray) -> float:
    counts = confusion_counts(labels, answers, len(study.emotions))
    return float(confusion_figures(counts)[FIGURES[study.objective]])


def _folds(faces: pd.DataFrame, seed: int) -> np.ndarray | None:
    """(n,) fold of each face, from 1; fewer where an emotion has too few persons or faces for all, None without two."""
    rows = faces.reset_index(names="id")
    units = (rows["source"] + "/" + rows["subject"]).where(rows["subject"] != "", rows["pixel_hash"])
    units = units if (rows["subject"] != "").any() else rows["pixel_hash"]
    fewest = int(units.groupby(rows["emotion"]).nunique().min())
    try:
        return None if fewest < 2 else fold_numbers(rows, folds=min(FOLDS, fewest), seed=seed).to_numpy(np.int64)
    except UserError:  # persons who share a picture count as one, which may leave too few
        return None
