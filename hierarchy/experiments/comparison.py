"""Comparison: finished runs side by side on the same test faces, as one table that JSON can hold."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.calibration import expected_calibration_error
from fer_hierarchy.hierarchy.evaluation.metrics import class_indices, per_class, top_shares
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.evaluation.significance import (
    FIGURES,
    RESAMPLES,
    bootstrap_intervals,
    confusion_counts,
    confusion_figures,
    difference_over_seeds,
    mcnemar,
    mean_std,
    paired_bootstrap,
)
from fer_hierarchy.hierarchy.experiments.side_by_side import Opinion, sample
from fer_hierarchy.hierarchy.runs.run_folder import CONFIG, ENVIRONMENT, METRICS, PREDICTIONS, SPLITS
from fer_hierarchy.hierarchy.taxonomy import Taxonomy
from fer_hierarchy.hierarchy.wording import mode_words, model_words

FORMAT = 1
_NEEDED_KEYS = ("mode", "seed", "taxonomy", "emotions", "headline", "answers", "stages")
_NEEDED_COLUMNS = ("row", "true", "predicted", "route")

# Every pair of up to this many runs is compared; of more, each with the first.
_ALL_PAIRS = 4

log = logging.getLogger("hierarchy")

_Held = TypeVar("_Held")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a finished run left behind.

    Attributes:
        folder: The run folder, resolved.
        config: config.json.
        metrics: metrics.json.
        environment: environment.json, empty where there is none.
        taxonomy: The grouping that the run was judged with.
        predictions: predictions.csv indexed by row id, in file order.
        subjects: Row id -> subject of the faces of known people, from splits.csv.
        pixel_hashes: Row id -> hash of the face's pixels, from splits.csv; empty where the run recorded none.
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any]
    taxonomy: Taxonomy
    predictions: pd.DataFrame
    subjects: pd.Series
    pixel_hashes: pd.Series

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Emotions in class order."""
        return self.taxonomy.emotions


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """A run's headline answers on the common rows, in the common order."""

    name: str
    record: RunRecord
    labels: np.ndarray  # (n,) int64
    answers: np.ndarray  # (n,) int64
    rows: pd.DataFrame  # (n, columns of predictions.csv)

    @property
    def figures(self) -> dict[str, float]:
        confusion = confusion_counts(self.labels, self.answers, len(self.record.classes))
        return {name: float(value) for name, value in confusion_figures(confusion).items()}

    @property
    def probabilities(self) -> np.ndarray:
        """(n, classes) float64."""
        columns = [f"p_{emotion}" for emotion in self.record.classes]
        return as_probabilities(self.rows[columns], len(columns), f"{PREDICTIONS} of {self.name}")

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.labels, self.probabilities)

    @property
    def group_top1(self) -> float:
        taxonomy = self.record.taxonomy
        true_groups = np.array(taxonomy.group_index)[self.labels]
        return float((class_indices(self.rows["route"], taxonomy.group_names) == true_groups).mean())


def load_run(folder: Path) -> RunRecord:
    """Read a finished run.

    Args:
        folder: results/<run>.

    Raises:
        UserError: The folder is not there, is no finished run, or holds a damaged file.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(f"no run folder at {folder}; name a folder that a finished run left below results/")
    missing = [name for name in (CONFIG, METRICS, PREDICTIONS) if not (folder / name).is_file()]
    if missing:
        unfinished = (folder / CONFIG).is_file()
        hint = f"finish it with --resume {folder.name}" if unfinished else "name a folder that a finished run left"
        raise UserError(f"{folder} is no finished run: {', '.join(missing)} missing; {hint}")
    metrics = _read_json(folder / METRICS)
    absent = [key for key in _NEEDED_KEYS if key not in metrics]
    if metrics.get("format") != FORMAT or absent:
        problem = f"no {absent[0]!r}" if absent else f"format {metrics.get('format')!r}, not {FORMAT}"
        raise UserError(f"{folder / METRICS}: {problem}; run the evaluation again")
    taxonomy = Taxonomy.from_dict(metrics["taxonomy"], name=folder.name)
    environment = _read_json(folder / ENVIRONMENT) if (folder / ENVIRONMENT).is_file() else {}
    splits = _read_splits(folder / SPLITS)
    return RunRecord(
        folder=folder,
        config=_read_json(folder / CONFIG),
        metrics=metrics,
        environment=environment,
        taxonomy=taxonomy,
        predictions=read_predictions(folder / PREDICTIONS, taxonomy),
        subjects=_read_subjects(splits),
        pixel_hashes=splits["pixel_hash"] if "pixel_hash" in splits else pd.Series(dtype=str),
    )


def compare(
    runs: Sequence[RunRecord], *, resamples: int = RESAMPLES, seed: int = 0, with_first: bool = False
) -> dict[str, Any]:
    """Put finished runs side by side.

    Figures are those of each run's headline answer. Differences are paired: b - a on the same faces. Where subjects
    are known the bootstrap draws whole subjects. p values are not corrected for the number of pairs.

    Args:
        runs: At least two, judged on the same rows, labels and classes.
        resamples: Bootstrap samples of every interval.
        seed: Of the bootstrap, and of the choice of faces to show.
        with_first: Pair each run with the first only, as is done for more than four runs in any case.

    Returns:
        format, synthetic, test, classes, runs, routings, repeats (configurations trained with several seeds),
        repeated_pairs (those against each other), pairs, stages, side_by_side (what each run says of a few faces),
        warnings (test faces that are not as published, or not the same pixels), omitted (what is left out, and why).

    Raises:
        UserError: Fewer than two runs, a run twice, or runs whose classes, test rows or true labels differ.
    """
    judged = _aligned(runs)
    first = judged[0].record
    subjects = _subjects(judged[0])
    draw = {"resamples": resamples, "seed": seed, "groups": subjects}
    same_groups = len({_grouping(run.record.taxonomy) for run in judged}) == 1
    alike = _alike(judged)
    all_pairs = len(judged) <= _ALL_PAIRS and not with_first
    return {
        "format": FORMAT,
        "synthetic": any(bool(run.record.metrics.get("synthetic")) for run in judged),
        "test": {
            "n": len(judged[0].labels),
            "fingerprint": first.metrics.get("test_fingerprint"),
            "subjects": None if subjects is None else len(set(subjects) - {""}),
        },
        "classes": list(first.classes),
        "runs": [_run_row(run, same_groups, draw) for run in judged],
        "routings": [row for run in judged for row in _routing_rows(run)] if same_groups else [],
        "repeats": [_repeat(held) for held in alike],
        "repeated_pairs": [_repeated_pair(a, b, draw) for a, b in _pairs(alike, len(alike) <= _ALL_PAIRS)],
        "pairs": [_pair(a, b, draw) for a, b in _pairs(judged, all_pairs)],
        "stages": _stage_rows(judged) if same_groups else [],
        "side_by_side": sample([_opinion(run) for run in judged], first.classes, seed=seed),
        "warnings": _data_warnings(judged),
        "omitted": _omitted(judged, same_groups, bool(alike), all_pairs),
    }


def opinions(runs: Sequence[RunRecord]) -> list[Opinion]:
    """What the runs say of each test face, in the first one's order of faces.

    Raises:
        UserError: As for `compare`.
    """
    return [_opinion(run) for run in _aligned(runs)]


def common_answers(runs: Sequence[RunRecord]) -> list[pd.DataFrame]:
    """The predictions of the runs in the first one's order of faces.

    Raises:
        UserError: As for `compare`.
    """
    return [run.rows for run in _aligned(runs)]


def _opinion(run: _Judged) -> Opinion:
    return Opinion(name=run.name, rows=run.rows)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds a {type(record).__name__}; needed a JSON object")
    return record


def read_predictions(path: Path, taxonomy: Taxonomy) -> pd.DataFrame:
    """predictions.csv, checked and indexed by row id."""
    text = dict.fromkeys(_NEEDED_COLUMNS, str)
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as csv ({str(error).splitlines()[0]})") from error
    numbers = [f"p_{emotion}" for emotion in taxonomy.emotions]
    absent = [column for column in (*_NEEDED_COLUMNS, *numbers) if column not in table]
    if absent:
        raise UserError(f"{path}: column {absent[0]!r} is missing; run the evaluation again")
    wrong = [column for column in numbers if not pd.api.types.is_numeric_dtype(table[column])]
    if wrong:
        raise UserError(f"{path}: column {wrong[0]!r} holds something other than numbers; run the evaluation again")
    repeated = table["row"][table["row"].duplicated()]
    if table.empty or len(repeated):
        problem = f"row {repeated.iloc[0]!r} stands there twice" if len(repeated) else "holds no rows"
        raise UserError(f"{path}: {problem}; run the evaluation again")
    for column, names in (
        ("true", taxonomy.emotions),
        ("predicted", taxonomy.emotions),
        ("route", taxonomy.group_names),
    ):
        strange = table[column][~table[column].isin(names)]
        if len(strange):
            raise UserError(f"{path}: {column} {strange.iloc[0]!r} is none of {', '.join(names)}")
    return table.set_index("row")


def _read_splits(path: Path) -> pd.DataFrame:
    """splits.csv of a run by row id; empty where the run recorded none."""
    if not path.is_file():
        return pd.DataFrame()
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    key = next((column for column in ("id", "row") if column in table), None)
    return pd.DataFrame() if key is None else table.set_index(key)


def _read_subjects(splits: pd.DataFrame) -> pd.Series:
    """Row id -> subject, for rows whose subject is known."""
    if "subject" not in splits:
        return pd.Series(dtype=str)
    known = splits[splits["subject"] != ""]
    # Two data sets may both have a subject S005.
    return known["source"] + "/" + known["subject"] if "source" in known else known["subject"]


def _aligned(runs: Sequence[RunRecord]) -> list[_Judged]:
    """Check that the runs answer the same question and bring their rows into the first one's order."""
    if len(runs) < 2:
        raise UserError(f"compare: got {len(runs)} run(s); at least two are needed")
    folders = [run.folder for run in runs]
    twice = [folder for i, folder in enumerate(folders) if folder in folders[:i]]
    if twice:
        raise UserError(f"compare: run {twice[0].name} is named twice; each run once")
    for run in runs[1:]:
        _require_same_test(runs[0], run)
    order = runs[0].predictions.index
    judged = []
    for name, run in zip(_names(folders), runs, strict=True):
        rows = run.predictions.loc[order]
        labels, answers = (class_indices(rows[column], run.classes) for column in ("true", "predicted"))
        judged.append(_Judged(name=name, record=run, labels=labels, answers=answers, rows=rows))
    return judged


def _names(folders: Sequence[Path]) -> list[str]:
    """Folder names; with the folder around them, or whole paths, where names alone do not tell the runs apart."""
    short = [folder.name for folder in folders]
    longer = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    return next((names for names in (short, longer) if len(set(names)) == len(names)), [str(f) for f in folders])


def _require_same_test(first: RunRecord, other: RunRecord) -> None:
    start = f"runs {first.name} and {other.name} cannot be compared:"
    if first.classes != other.classes:
        raise UserError(
            f"{start} their classes differ ({', '.join(first.classes)} against {', '.join(other.classes)}); "
            f"use the same --exclude and data with the same emotions"
        )
    ids, other_ids = first.predictions.index, other.predictions.index
    only, other_only = ids.difference(other_ids), other_ids.difference(ids)
    if len(only) or len(other_only):
        counts = [
            f"{len(extra)} of {len(run.predictions)} only in {run.name}" + (f", as {extra[0]!r}" if len(extra) else "")
            for extra, run in ((only, first), (other_only, other))
        ]
        raise UserError(f"{start} their test rows differ ({'; '.join(counts)}); use the same data, --limit and splits")
    labels = other.predictions["true"].loc[ids]
    differ = (first.predictions["true"] != labels).to_numpy()
    if differ.any():
        row = ids[differ.argmax()]
        pair = f"{first.predictions['true'][row]} against {labels[row]}"
        raise UserError(
            f"{start} {differ.sum()} of {len(ids)} true labels differ (row {row!r}: {pair}); label them alike"
        )


def _subjects(run: _Judged) -> np.ndarray | None:
    """(n,) subject of each test face, "" where unknown; None where nobody is known."""
    subject_of = run.record.subjects.to_dict()
    known = np.array([subject_of.get(row, "") for row in run.rows.index], dtype=object)
    if not any(known):
        return None
    log.warning(
        "Test faces of one person are not independent: intervals draw whole subjects; the McNemar test cannot, "
        "so its p is too small."
    )
    return known


def _grouping(taxonomy: Taxonomy) -> tuple:
    """What two taxonomies must share for their group figures to mean the same."""
    return taxonomy.gate, tuple((group, taxonomy.members(group)) for group in taxonomy.group_names)


def _run_row(run: _Judged, same_groups: bool, draw: dict[str, Any]) -> dict[str, Any]:
    metrics = run.record.metrics
    training, cost = metrics.get("training") or {}, metrics.get("cost") or {}
    return {
        "name": run.name,
        "mode": metrics["mode"],
        "trunk": metrics.get("trunk"),
        "framework": metrics.get("framework", "keras"),
        "headline": metrics["headline"],
        "seed": metrics["seed"],
        "taxonomy": run.record.taxonomy.name,
        "excluded": metrics.get("excluded", []),
        "rows": (metrics.get("data") or {}).get("rows"),
        "pixels": (metrics.get("data") or {}).get("pixels"),
        "n": len(run.labels),
        **run.figures,
        **top_shares(run.labels, run.probabilities),
        "intervals": bootstrap_intervals(run.labels, run.answers, len(run.record.classes), **draw),
        "ece": run.ece,
        "group_top1": run.group_top1 if same_groups else None,
        **{key: cost.get(key) for key in ("train_cpu_seconds", "parameters", "multiply_adds", "latency_ms")},
        "epochs": {stage: entry.get("epochs_run") for stage, entry in training.items()},
        "models": {stage: model_words(entry) for stage, entry in training.items()},
        "balance": {stage: entry.get("balance") for stage, entry in training.items()},
    }


def _score_row(scores: dict[str, Any]) -> dict[str, Any]:
    # A record of an older version lacks the younger figures; its confusion matrix has them all.
    figures = {name: float(value) for name, value in confusion_figures(scores["confusion"]).items()}
    return {"n": scores["n"], **figures, "intervals": scores["intervals"]}


def _routing_rows(run: _Judged) -> list[dict[str, Any]]:
    answers = run.record.metrics["answers"]
    return [{"run": run.name, "routing": routing, **_score_row(scores)} for routing, scores in answers.items()]


def _stage_rows(judged: list[_Judged]) -> list[dict[str, Any]]:
    """One row for each stage and run; a flat run's stages are those that its answer implies."""
    taxonomy = judged[0].record.taxonomy
    return [
        {"stage": stage, "run": run.name, **_score_row(run.record.metrics["stages"][stage])}
        for stage in (taxonomy.gate, *taxonomy.specialists)
        for run in judged
        if stage in run.record.metrics["stages"]
    ]


def _pairs(held: Sequence[_Held], all_pairs: bool) -> list[tuple[_Held, _Held]]:
    return list(combinations(held, 2)) if all_pairs else [(held[0], other) for other in held[1:]]


def _pair(a: _Judged, b: _Judged, draw: dict[str, Any]) -> dict[str, Any]:
    classes = a.record.classes
    rows = zip(per_class(a.labels, a.answers, classes), per_class(b.labels, b.answers, classes), strict=True)
    return {
        "a": a.name,
        "b": b.name,
        "n": len(a.labels),
        "mcnemar": mcnemar(a.answers == a.labels, b.answers == b.labels),
        "differences": paired_bootstrap(a.labels, a.answers, b.answers, len(classes), **draw),
        "per_class": [_class_row(left, right) for left, right in rows],
    }


def _class_row(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    row = {"class": left["class"], "support": left["support"]}
    for key in ("recall", "f1"):
        delta = right[key] - left[key] if left["support"] else None
        row |= {f"{key}_a": left[key], f"{key}_b": right[key], f"{key}_delta": delta}
    return row


def _alike(judged: list[_Judged]) -> list[list[_Judged]]:
    """Runs that differ in nothing but seed and name; of equal seeds the first, since it is the same run again.

    Ensembles are left out: their seed is that of the bootstrap, and they may share trainings.
    """
    alike: dict[str, dict[int, _Judged]] = {}
    for run in (run for run in judged if not run.record.metrics.get("members")):
        settings = {key: value for key, value in run.record.config.items() if key not in ("name", "seed")}
        key = json.dumps([run.record.metrics["mode"], settings], sort_keys=True)
        alike.setdefault(key, {}).setdefault(run.record.metrics["seed"], run)
    return [list(seeds.values()) for seeds in alike.values() if len(seeds) > 1]


def _repeat(runs: list[_Judged]) -> dict[str, Any]:
    figures: dict[str, Callable[[_Judged], float]] = {
        **{name: lambda run, name=name: run.figures[name] for name in FIGURES},
        "ece": lambda run: run.ece,
    }
    return {
        "runs": [run.name for run in runs],
        "configuration": _configuration(runs[0].record),
        "seeds": [run.record.metrics["seed"] for run in runs],
        **{name: mean_std([figure(run) for run in runs]) for name, figure in figures.items()},
    }


def _repeated_pair(a: list[_Judged], b: list[_Judged], draw: dict[str, Any]) -> dict[str, Any]:
    """One configuration minus another, each the mean of its seeds, as lists of runs."""
    labels, classes = a[0].labels, len(a[0].record.classes)
    answers = ([run.answers for run in held] for held in (a, b))
    return {
        "a": [run.name for run in a],
        "b": [run.name for run in b],
        "n": len(labels),
        "differences": difference_over_seeds(labels, *answers, classes, **draw),
    }


def _configuration(record: RunRecord) -> str:
    """A short text such as `flat, compact_resnet, 24 epochs, balance none`."""
    parts = [mode_words(record.metrics)]
    if record.metrics["mode"] != "flat":
        parts.append(f"taxonomy {record.taxonomy.name}")
    entries = list((record.metrics.get("training") or {}).values())
    for key, text in (("model", "{}"), ("epochs", "{} epochs"), ("balance", "balance {}")):
        values = dict.fromkeys(str(entry[key]) for entry in entries if entry.get(key) is not None)
        if values:
            parts.append(text.format("/".join(values)))
    return ", ".join(parts)


def _data_warnings(judged: Sequence[_Judged]) -> list[str]:
    """What a reader must know of the test faces: altered ones, and other pixels under the same names."""
    found = []
    for run in judged:
        pixels = (run.record.metrics.get("data") or {}).get("pixels") or {}
        if pixels.get("altered"):
            found.append(f"{run.name} was evaluated on altered data: {'; '.join(pixels['known'])}.")
    first = judged[0].record.pixel_hashes.reindex(judged[0].rows.index)
    for run in judged[1:]:
        other = run.record.pixel_hashes.reindex(first.index)
        differ = int((first.notna() & other.notna() & (first != other)).sum())
        if differ:
            found.append(
                f"{differ:,} of {len(first):,} test faces have other pixels in {run.name} than in {judged[0].name}: "
                "their figures are about different pictures."
            )
    for text in found:
        log.warning("%s", text)
    return found


def _omitted(judged: list[_Judged], same_groups: bool, has_repeats: bool, all_pairs: bool) -> list[dict[str, str]]:
    first = judged[0].name
    groupings = "; ".join(f"{run.name}: {_describe(run.record.taxonomy)}" for run in judged)
    processors = {run.name: run.record.environment.get("processor") or "not recorded" for run in judged}
    one_processor = len(set(processors.values())) == 1 and "not recorded" not in processors.values()
    machines = "; ".join(f"{name}: {processor}" for name, processor in processors.items())
    reasons = [
        (
            not same_groups,
            "accuracy of the groups, stages and routings",
            f"the runs group the emotions differently ({groupings})",
        ),
        (not has_repeats, "mean and deviation over seeds", "no configuration was run with more than one seed"),
        (
            not all_pairs and len(judged) > 2,
            f"pairs without {first}",
            "each run is paired with it only, which keeps the number of tests small",
        ),
        (
            not one_processor,
            "a comparison of CPU-seconds and latency",
            f"they compare on one processor only ({machines}); read each figure for itself",
        ),
    ]
    return [{"what": what, "why": why} for applies, what, why in reasons if applies]


def _describe(taxonomy: Taxonomy) -> str:
    return " | ".join(f"{group} = {', '.join(taxonomy.members(group))}" for group in taxonomy.group_names)
