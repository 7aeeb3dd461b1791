"""Numbers as readers see them: percentages, intervals, times and sizes, with one dash for what is not known."""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

from fer_hierarchy.hierarchy.config import SHARED

UNKNOWN = "-"
_Value = TypeVar("_Value")

MEASURES = {"top1": "Top-1 accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1"}
MEASURE_COLUMNS = {"top1": "Top-1 %", "balanced_accuracy": "Balanced %", "macro_f1": "Macro F1 %"}

PREDICTIONS = {
    "soft": "soft composition",
    "hard": "hard routing",
    "oracle": "oracle (upper bound)",
    "flat": "flat model",
    "logit_adjusted": "logit-adjusted",
    "tuned": "tuned composition",
    "pooled": "ensemble",
}

PREDICTION_NOTES = {
    "soft": "Soft composition: P(emotion) = P(group) P(emotion within the group); every stage counts.",
    "hard": "Hard routing: the gate's choice is final, so its errors cannot be mended; ECE and NLL suffer most.",
    "oracle": "Oracle: the true group is given. An upper bound for any gate, not a prediction that a user could get.",
    "flat": "Flat model: one network over all emotions.",
    "logit_adjusted": "Logit-adjusted: probabilities divided by a power of the train prior (Menon et al., 2021), which "
    "trades accuracy for balanced accuracy.",
    "tuned": "Tuned composition: the soft one with temperatures, prior strengths and perhaps a flat model's share "
    "that a search chose on validation faces.",
    "pooled": "Ensemble: the geometric mean of the probabilities of several runs; groups and stages are implied by it.",
}

DATA_NAMES = {"fer2013": "FER-2013", "ferplus": "FER+", "ck48": "CK+48", "ckplus": "CK+", "rafdb": "RAF-DB"}


def headline(record: Mapping) -> str:
    """The result of a run in one line, with n, intervals and seed.

    Args:
        record: Its metrics.json.
    """
    scores = record["answers"][record["headline"]]
    origin = "SYNTHETIC faces, " if record["synthetic"] else ""
    result = f"{record['run']} ({record['headline']}): {score_words(scores)}"
    return f"{result}; {origin}n = {scores['n']}, seed {record['seed']}"


def majority_line(scores: Mapping) -> str:
    """A warning where predicting the most frequent class for every face would be as good; else ""."""
    common = max(scores["per_class"], key=lambda row: row["support"])
    if scores["top1"] > common["support"] / scores["n"]:
        return ""
    always = f"always predicting {common['class']}, which is right for {percent(common['support'] / scores['n'])}"
    return f"No better than {always} of the {scores['n']:,} faces; this model is right for {percent(scores['top1'])}."


def split_faces(record: Mapping) -> str:
    """`test faces`, `validation and test faces`, or `faces` where the data has no splits.

    Args:
        record: Its `split`; test where there is none.
    """
    return f"{record.get('split', 'test')} faces".strip()


def score_words(scores: Mapping) -> str:
    """The three measures with their intervals."""
    names = {"top1": "top-1", "balanced_accuracy": "balanced", "macro_f1": "macro F1"}
    return ", ".join(
        f"{text} {scores[key]:.4f} [{scores['intervals'][key][0]:.4f}, {scores['intervals'][key][1]:.4f}]"
        for key, text in names.items()
    )


def known(value: _Value | None) -> TypeGuard[_Value]:
    """Whether `value` is there and no NaN."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def percent(value: float | None) -> str:
    """0.634 -> 63.4 %."""
    return f"{100 * value:.1f} %" if known(value) else UNKNOWN


def points(value: float | None) -> str:
    """0.634 -> 63.4, for columns whose heading has the unit."""
    return f"{100 * value:.1f}" if known(value) else UNKNOWN


def signed(value: float | None) -> str:
    """0.012 -> +1.2, for columns whose heading has the unit."""
    return f"{100 * value:+z.1f}" if known(value) else UNKNOWN


def difference(figure: Mapping[str, float]) -> str:
    """A difference in points with its interval: `+1.4 (+0.5 to +2.4)`."""
    return f"{signed(figure['difference'])} ({signed(figure['low'])} to {signed(figure['high'])})"


def spread(figure: Mapping | None) -> str:
    """A mean and its standard deviation in percent, `63.4 ± 0.6`."""
    if not figure or not known(figure.get("mean")):
        return UNKNOWN
    return f"{points(figure['mean'])} ± {points(figure.get('std'))}"


def decimals(value: float | None) -> str:
    """Three decimals."""
    return f"{value:.3f}" if known(value) else UNKNOWN


def whole(value: float | None) -> str:
    """28709 -> 28,709."""
    return f"{value:,.0f}" if known(value) else UNKNOWN


def span(scores: Mapping, measure: str) -> str:
    """The 95 % interval of a measure in percent, `61.8 to 65.0`, or nothing."""
    bounds = (scores.get("intervals") or {}).get(measure)
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}" if bounds and all(map(known, bounds)) else ""


def with_span(scores: Mapping, measure: str) -> str:
    """A measure in percent with its interval, `63.4 (61.8 to 65.0)`."""
    bounds = span(scores, measure)
    return f"{points(scores.get(measure))} ({bounds})" if bounds else points(scores.get(measure))


def millions(value: float | None) -> str:
    """1100000 -> 1.10 M; below ten thousand the number itself."""
    if not known(value):
        return UNKNOWN
    return f"{value / 1e6:.3g} M" if value >= 1e4 else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds in the units that a person would use."""
    if not known(seconds):
        return UNKNOWN
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def training_time(run: Mapping[str, Any]) -> str:
    """Processor time of a compared run, with what it was trained from, as far as that is recorded."""
    text = duration(run.get("whole_cpu_seconds"))
    return f"at least {text}" if run.get("cost_unknown") else text


def chance(p: float | None) -> str:
    """A p-value: three decimals, or that it is below 0.001."""
    if not known(p):
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_text(p: float) -> str:
    """`p = 0.012` or `p < 0.001`."""
    return f"p {chance(p)}" if p < 0.001 else f"p = {chance(p)}"


def plain(value: object) -> str:
    """Any JSON value as a short text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not known(value) or value in ("", [], {}):
        return UNKNOWN
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value))
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {plain(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def flatten(record: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON object as (dotted key, text) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, Mapping) and value and key != "taxonomy":
            pairs += flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", plain(value)))
    return pairs


def model_words(stage: Mapping) -> str | None:
    """A stage's model with what it was made to see, from its record; None where the record has none."""
    model, seen = stage.get("model"), [stage[name] for name in ("modality", "depth") if stage.get(name)]
    return f"{model} ({', '.join(seen)})" if model and seen else model


def group_words(taxonomy: Mapping) -> str:
    """`positive: happy, surprise, neutral; negative: ...`, from a taxonomy as JSON holds it."""
    return "; ".join(f"{name}: {', '.join(emotions)}" for name, emotions in taxonomy["groups"].items())


def mode_words(record: Mapping) -> str:
    """`flat`, `hierarchical`, or `hierarchical, shared trunk`, from a record's `mode` and `trunk`."""
    return f"{record['mode']}, shared trunk" if record.get("trunk") == SHARED else str(record["mode"])
