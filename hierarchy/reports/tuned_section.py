"""What an evaluation's report says of a tuned composition: the difference from the headline, and the values."""

from collections.abc import Mapping

from fer_hierarchy.hierarchy.reports.page import Section, Table, Text
from fer_hierarchy.hierarchy.wording import ANSWERS, chance, decimals, points, signed, whole

_ANSWER = "tuned"
_MEASURES = {"top1": "top-1 accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
_ALPHA = 0.05


def tuned_section(metrics: Mapping) -> Section:
    """The section; without blocks where nothing tuned was judged.

    Args:
        metrics: A run's metrics.json.
    """
    pair, facts = (metrics.get("paired") or {}).get(_ANSWER), metrics.get("composition")
    if not pair or not facts:
        return Section("Tuned composition", "", [])
    return Section(
        "Tuned composition",
        f"The values come from the search {facts['study']}, which looked at validation faces only. They are judged "
        f"here on faces that it never saw, beside the {ANSWERS[pair['against']]}, which stays the headline.",
        [_differences(metrics, pair), Text(_words(pair)), _values(facts["recomposition"])],
    )


def _differences(metrics: Mapping, pair: Mapping) -> Table:
    before, after = metrics["answers"][pair["against"]], metrics["answers"][_ANSWER]
    rows = [
        (
            title[0].upper() + title[1:],
            points(before[name]),
            points(after[name]),
            signed(pair["differences"][name]["difference"]),
            f"{signed(pair['differences'][name]['low'])} to {signed(pair['differences'][name]['high'])}",
        )
        for name, title in _MEASURES.items()
    ]
    columns = ("Measure", f"{ANSWERS[pair['against']].capitalize()} %", "Tuned %", "Difference", "95 % interval")
    return Table(columns, rows, caption=f"n = {after['n']:,}; both answers to the same faces, differences in points")


def _words(pair: Mapping) -> str:
    test, differences = pair["mcnemar"], pair["differences"]
    clear = [
        f"{title} ({'better' if differences[name]['difference'] > 0 else 'worse'})"
        for name, title in _MEASURES.items()
        if not differences[name]["low"] <= 0 <= differences[name]["high"]
    ]
    standing = f"More than noise: {', '.join(clear)}." if clear else "No difference is more than noise."
    agreed = "no clear difference in accuracy" if test["p"] >= _ALPHA else "a clear difference in accuracy"
    return (
        f"{standing} Of the faces on which they disagree, the tuned composition alone is right on "
        f"{whole(test['b_only'])}, the {ANSWERS[pair['against']]} alone on {whole(test['a_only'])} "
        f"(McNemar p {chance(test['p'])}: {agreed})."
    )


def _values(made: Mapping) -> Table:
    strengths = made["prior_strengths"]
    stages = list(dict.fromkeys((*made["temperatures"], *strengths)))
    rows = [(s, decimals(made["temperatures"].get(s, 1.0)), decimals(strengths.get(s, 0.0)), "") for s in stages]
    if made["blend"]:
        rows.append((f"flat: {made['flat']}", decimals(made["flat_temperature"]), "", decimals(made["blend"])))
    columns = ("Stage", "Temperature", "Prior strength", "Share in the blend")
    return Table(columns, rows, caption="The values; temperature 1, strength 0 and no blend change nothing")
