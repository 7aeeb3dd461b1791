"""What a search over taxonomies found, as tables and as records that JSON can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.classifiers.predictions import subjects
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import Draw, paired_bootstrap
from fer_hierarchy.hierarchy.paths import VALIDATION_PREDICTIONS
from fer_hierarchy.hierarchy.runs.run import read_splits
from fer_hierarchy.hierarchy.runs.run_folder import read_json
from fer_hierarchy.hierarchy.taxonomy import FLAT
from fer_hierarchy.tuning import validation_faces
from fer_hierarchy.tuning.search.study import FORMAT
from fer_hierarchy.tuning.settings import TAXONOMY
from fer_hierarchy.tuning.taxonomies.groupings import RANDOM, Candidate, in_words
from fer_hierarchy.tuning.taxonomies.study import TaxonomyStudy
from fer_hierarchy.tuning.validation_faces import FIGURES

CANDIDATES = "candidates"
SCORES = "scores.json"
FAILED = "failed.json"
_COUNTS = ("implied_rank", "implied_of", "faces_shown", "parameters", "multiply_adds")


@dataclass(frozen=True, kw_only=True)
class ValidationPredictions:
    """What all trained candidates, and the flat network, predict for the same n validation faces.

    Attributes:
        study: What was searched.
        labels: (n,) index of each face's emotion.
        predicted: Candidate -> (n,) index of the predicted emotion.
        faces: The faces as rows of a manifest, in the same order.
        persons: (n,) person on each face, None where nobody is known.
    """

    study: TaxonomyStudy
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    faces: pd.DataFrame
    persons: np.ndarray | None

    def score(self, predicted: np.ndarray, rows: np.ndarray | slice = slice(None)) -> float:
        """The objective of predictions, on some of the faces."""
        classes = len(self.study.emotions)
        return validation_faces.score(self.labels[rows], predicted[rows], classes, self.study.objective)

    def difference(self, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
        """The objective of the second predictions minus that of the first, with its interval."""
        config = self.study.config
        draw: Draw = {"resamples": config.evaluation.resamples, "seed": config.seed, "groups": self.persons}
        found = paired_bootstrap(self.labels, before, after, len(self.study.emotions), **draw)
        return found[FIGURES[self.study.objective]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A search that is done.

    Attributes:
        study: What was searched.
        folder: The study's folder.
        scores: Candidate -> scores.json, those that failed left out.
        table: trials.csv.
        best: best.json; empty where no candidate has a score.
        by_person: Whether intervals draw all faces of a person together.
    """

    study: TaxonomyStudy
    folder: Path
    scores: Mapping[str, Mapping[str, Any]]
    table: pd.DataFrame
    best: Mapping[str, Any]
    by_person: bool

    @property
    def line(self) -> str:
        """The result in one line, with n, interval and seed."""
        study, best, random = self.study, self.best, self.best["random"]
        row = self.table.set_index("candidate").loc[best["candidate"]]
        measure = f"{'' if study.trained else 'implied hard-routed '}{study.objective}"
        words = [f"{study.name}: best {measure} {best['score']:.4f} ({best['candidate']}: {row['groups']})"]
        if pd.notna(row.get("difference")):
            span = f"[{row['difference_low']:+.4f}, {row['difference_high']:+.4f}]"
            words.append(f"{row['difference']:+.4f} {span} against {study.reference.name}")
        if random["count"]:
            words.append(f"{random['better']} of {random['count']} random groupings do better")
        origin = "SYNTHETIC faces, " if study.synthetic else ""
        return f"{', '.join(words)}; {origin}n = {study.faces} validation faces, seed {study.config.seed}"


def is_complete(place: Path) -> bool:
    """Whether a candidate's folder holds all that is kept of it."""
    return (place / SCORES).is_file() and (place / VALIDATION_PREDICTIONS).is_file()


def outcome(study: TaxonomyStudy, folder: Path) -> Outcome:
    """Bring together what is in a study's folder."""
    places = {one.name: folder / CANDIDATES / one.name for one in study.everything}
    scores = {name: read_json(place / SCORES) for name, place in places.items() if is_complete(place)}
    predictions = _read_predictions(study, folder, list(scores)) if scores else None
    table = pd.DataFrame([_row(study, folder, one, scores, predictions) for one in study.everything])
    # A whole number stays whole where another row has none.
    table = table.astype(dict.fromkeys([name for name in _COUNTS if name in table], "Int64"))
    return Outcome(
        study=study,
        folder=folder,
        scores=scores,
        table=table,
        best=_best_record(study, table, predictions),
        by_person=predictions is not None and predictions.persons is not None,
    )


def _read_predictions(study: TaxonomyStudy, folder: Path, names: Sequence[str]) -> ValidationPredictions:
    """The predictions of some candidates, aligned by face."""
    paths = {name: folder / CANDIDATES / name / VALIDATION_PREDICTIONS for name in names}
    read = {
        name: pd.read_csv(path, dtype={"row": str}, keep_default_na=False, index_col="row")
        for name, path in paths.items()
    }
    index, true = {emotion: place for place, emotion in enumerate(study.emotions)}, read[names[0]]["true"]
    splits = read_splits(folder)
    faces = splits[splits["split"] == "validation"].set_index("row").loc[true.index]
    manifest = validation_faces.as_manifest(faces)
    return ValidationPredictions(
        study=study,
        labels=true.map(index).to_numpy(np.int64),
        predicted={
            name: table.loc[true.index, "predicted"].map(index).to_numpy(np.int64) for name, table in read.items()
        },
        faces=manifest,
        persons=subjects(manifest),
    )


def _row(
    study: TaxonomyStudy,
    folder: Path,
    candidate: Candidate,
    scores: Mapping[str, Mapping[str, Any]],
    predictions: ValidationPredictions | None,
) -> dict[str, Any]:
    """A row of trials.csv.

    `score` is the objective of the soft composition on validation faces, or of implied hard routing where nothing was
    trained; `difference` is that of the trained score from the reference's.
    """
    name = candidate.name
    groups = " ".join(study.emotions) if name == FLAT else in_words(candidate.taxonomy)
    names = " = ".join(name for _, name in candidate.origins)
    row: dict[str, Any] = {"candidate": name, "kind": candidate.kind, "origins": names, "groups": groups}
    row["stages"] = len(candidate.stages)
    if not study.trained:
        row |= {"status": "looked at", "score": study.implied[name][f"hard_{study.objective}"]}
    elif predictions is not None and name in scores:
        row |= _measured(study, name, scores[name], predictions)
    else:
        path = folder / CANDIDATES / name / FAILED
        row |= {"status": "failed", "score": None, "message": read_json(path)["message"] if path.is_file() else ""}
    looks = study.implied.get(name, {})
    return row | {f"implied_{key}": value for key, value in looks.items() if key not in ("n", "specialists")}


def _measured(
    study: TaxonomyStudy, name: str, record: Mapping[str, Any], predictions: ValidationPredictions
) -> dict[str, Any]:
    """What training one candidate gave."""
    scores, gate = record["answers"][record["headline"]], next(iter(record["stages"].values()))
    measure = FIGURES[study.objective]
    low, high = scores["intervals"][measure]
    row = {"status": "completed", "score": scores[measure], "low": low, "high": high}
    row |= {objective: scores[key] for objective, key in FIGURES.items()} | {"nll": scores["nll"]}
    for prefix, other in (("difference", study.reference.name), ("flat_difference", FLAT)):
        if other in predictions.predicted and other != name:
            found = predictions.difference(predictions.predicted[other], predictions.predicted[name])
            row |= {prefix: found["difference"], f"{prefix}_low": found["low"], f"{prefix}_high": found["high"]}
    if name != FLAT:
        row |= {f"hard_{objective}": record["answers"]["hard"][key] for objective, key in FIGURES.items()}
        row |= {"oracle_accuracy": record["answers"]["oracle"]["top1"]}
        row |= {"gate_accuracy": gate["top1"], "gate_balanced_accuracy": gate["balanced_accuracy"]}
    return row | record["cost"] | {"message": ""}


def _best_record(
    study: TaxonomyStudy, table: pd.DataFrame, predictions: ValidationPredictions | None
) -> dict[str, Any]:
    """What best.json holds; empty where no candidate has a score.

    Random groupings are controls: they are never the best, but how many of them do better is counted.
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
        "choice": None if predictions is None else _choice(predictions, list(serious["candidate"])),
        "run": dict(study.run),
        "data": dict(study.data),
        "seed": study.config.seed,
    }


def _choice(predictions: ValidationPredictions, names: Sequence[str]) -> dict[str, Any] | None:
    """What choosing the best candidate is worth: each face is predicted by the one that is best on the other folds.

    Args:
        predictions: Of all candidates.
        names: Candidates to choose among.

    Returns:
        {"n", "folds", "chosen": fold -> candidate, "score", "reference": its score, "difference", "low", "high"}; None
        where there is nothing to choose, no reference, or too few faces of an emotion for two folds.
    """
    study = predictions.study
    reference = predictions.predicted.get(study.reference.name)
    if reference is None or len(names) < 2:
        return None
    try:
        folds = validation_faces.folds(predictions.faces, study.config.seed)
    except UserError:
        return None
    chosen, predicted = {}, np.empty_like(predictions.labels)
    for number in np.unique(folds):
        inside = folds == number
        scores = {name: predictions.score(predictions.predicted[name], ~inside) for name in names}
        best = max(scores, key=scores.__getitem__)
        chosen[str(number)], predicted[inside] = best, predictions.predicted[best][inside]
    return {
        "n": len(predicted),
        "folds": int(folds.max()),
        "chosen": chosen,
        "score": predictions.score(predicted),
        "reference": predictions.score(reference),
        **predictions.difference(reference, predicted),
    }
