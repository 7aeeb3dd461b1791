"""A tuned composition as a search left it in best.json, ready to predict beside the soft one."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.combiner import Combiner, stage_priors
from fer_hierarchy.hierarchy.classifiers.predictions import Predictions
from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import PICTURES
from fer_hierarchy.hierarchy.data.faces import Faces, decode
from fer_hierarchy.hierarchy.data.leakage import without_seen
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import VALIDATION_PREDICTIONS, is_file
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import FLAT

KIND = "composition"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TunedComposition:
    """What a search over the composition of a run found.

    Attributes:
        study: Name of the search.
        combiner: The values.
        facts: What best.json holds of them: objective, score, cross-validation.
        flat: Folder of the flat run, None where nothing is blended.
    """

    study: str
    combiner: Combiner
    facts: Mapping[str, Any]
    flat: Path | None

    def unseen(self, faces: Faces) -> Faces:
        """The faces without those that the flat run trained on or chose by.

        Raises:
            UserError: None is left.
        """
        if self.flat is None:
            return faces
        splits = self.flat / paths.SPLITS
        rows = without_seen(faces.manifest, splits, run=f"the flat run {self.flat.name}")
        return dataclasses.replace(faces, manifest=rows)

    def predict(
        self, stages: Predictions, faces: Faces, stage_type: type[Stage], counts: Mapping[str, int], source: Path
    ) -> np.ndarray:
        """The tuned predictions of faces that the stages have predicted.

        Args:
            stages: Predictions of the stages.
            faces: The faces as the stages see them.
            stage_type: What the flat run's network is loaded as.
            counts: Emotion -> train rows of the run.
            source: The run's folder.

        Returns:
            (n, emotions) float64.

        Raises:
            UserError: The values do not fit the run, or the flat run cannot predict these faces.
        """
        flat = None if self.flat is None else _predict_flat(self.flat, stages.rows, faces, stage_type, source)
        priors = stage_priors(counts, stages.taxonomy)
        return self.combiner.apply(stages.gate, stages.specialists, stages.taxonomy, priors, flat)

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json holds of it."""
        return {"study": self.study, "recomposition": self.combiner.to_dict(), **self.facts}


def _predict_flat(flat: Path, rows: pd.DataFrame, faces: Faces, stage_type: type[Stage], source: Path) -> np.ndarray:
    """(n, emotions) of the flat run, which may need its pictures in another size or colours."""
    own, other = Run(flat).config, Run(source).config
    if own.framework != stage_type.framework:
        raise UserError(f"the flat run {flat.name} is of {own.framework}; needed {stage_type.framework}")
    stage = stage_type.load(flat / paths.STAGES / FLAT)
    if tuple(stage.classes) != faces.taxonomy.emotions:
        raise UserError(f"the flat run {flat.name} predicts {', '.join(stage.classes)} only")
    wanted = [(c.reads_depth, *(getattr(c.data, name) for name in PICTURES)) for c in (own, other)]
    if wanted[0] == wanted[1]:
        return stage.predict_proba(faces.images.pixels, rows.index.to_numpy())
    images = decode(rows.reset_index(drop=True), own.data, with_depth=own.reads_depth)
    places = pd.Series(images.manifest.index, index=images.manifest["id"]).reindex(rows["id"])
    if places.isna().any():
        raise UserError(f"the flat run cannot read face {places.index[places.isna()][0]}")
    return stage.predict_proba(images.pixels, places.to_numpy(np.int64))


def tuned_line(record: Mapping[str, Any]) -> str:
    """The result of an evaluation's tuned composition in one line, with intervals of its difference."""
    pair, scores = record["paired"]["tuned"], record["answers"]["tuned"]
    figures = ", ".join(
        f"{text} {scores[key]:.4f} ({d['difference']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}])"
        for key, text in (("top1", "top-1"), ("balanced_accuracy", "balanced"), ("macro_f1", "macro F1"))
        for d in (pair["differences"][key],)
    )
    return f"tuned by {record['composition']['study']}, against {pair['against']}: {figures}; n = {scores['n']}"


def predictions_fingerprint(folder: Path) -> str:
    """16 hex digits over a run's validation predictions, which tell it from every other run under whatever name."""
    return hashlib.sha256((folder / VALIDATION_PREDICTIONS).read_bytes()).hexdigest()[:16]


def read_tuned(path: Path, source: Path, results: Path) -> TunedComposition:
    """Read a best.json that is to be used with a run.

    Args:
        path: The file.
        source: Folder of the hierarchical run.
        results: Where the flat run is searched for, after the folder that `source` is in.

    Raises:
        UserError: It is missing, damaged, of another kind or of another run, or its flat run is gone.
    """
    record = run_folder.read_json(path)
    if record.get("kind") != KIND:
        raise UserError(
            f"--composition: {path} is no composition but of kind {record.get('kind')!r}; "
            "--mode tune --stage composition RUN makes one"
        )
    if record.get("format") != FORMAT:
        raise UserError(f"{path}: format {record.get('format')!r} is not the {FORMAT} that this version reads")
    try:
        combiner = Combiner.from_dict(record["recomposition"], where=str(path))
        fingerprints, facts = record["fingerprints"], {n: record[n] for n in ("objective", "score", "cross_validated")}
        study, run, fingerprint = record["study"], record["run"], fingerprints["run"]
        flat = None if combiner.flat is None else _flat_folder(combiner.flat, source, results)
        flat_fingerprint = "" if flat is None else fingerprints["flat"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error!r} is missing or of the wrong kind") from error
    if flat is not None and not _is_of(flat, flat_fingerprint):
        raise UserError(f"--composition: {flat} is not the flat run that {path} was searched with; search again")
    if not _is_of(source, fingerprint):
        raise UserError(f"--composition: {path} was searched for run {run}, not for {source.name}; search again for it")
    return TunedComposition(study=study, combiner=combiner, facts=facts, flat=flat)


def _is_of(folder: Path, fingerprint: str) -> bool:
    """Whether a run holds the predictions of this fingerprint."""
    return (folder / VALIDATION_PREDICTIONS).is_file() and predictions_fingerprint(folder) == fingerprint


def _flat_folder(flat: str, source: Path, results: Path) -> Path:
    """The flat run, beside the hierarchical one or where its name leads."""
    beside = source.parent / flat
    return beside if is_file(beside / paths.CONFIG) else Run(flat, results=results).folder
