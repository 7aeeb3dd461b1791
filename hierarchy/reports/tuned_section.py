"""What a report shows of a tuned composition: its difference from the composition it replaces, and its values."""

from collections.abc import Mapping, Sequence

from fer_hierarchy.hierarchy.reports.page import Block, Section, Table, Text
from fer_hierarchy.hierarchy.wording import MEASURES, PREDICTIONS, chance, decimals, points, signed, whole

_TUNED = "tuned"
_ALPHA = 0.05


def tuned_section(metrics: Mapping) -> Section:
    """The section of an evaluation's report; without blocks where no tuned composition was evaluated.

    Args:
        metrics: A run's metrics.json.
    """
    pair, facts = (metrics.get("paired") or {}).get(_TUNED), metrics.get("composition")
    if not pair or not facts:
        return Section("Tuned composition", "", [])
    before, after = metrics["answers"][pair["against"]], metrics["answers"][_TUNED]
    return Section(
        "Tuned composition",
        f"The values come from the search {facts['study']}, which used validation faces only. They are evaluated "
        f"here on faces that it never saw, beside the {PREDICTIONS[pair['against']]}, which stays the headline.",
        tuned_blocks(before, after, pair, [facts["recomposition"]]),
    )


def tuned_blocks(before: Mapping, after: Mapping, pair: Mapping, values: Sequence[Mapping]) -> list[Block]:
    """Differences in every measure, what they mean, and the values.

    Args:
        before: `top1`, `balanced_accuracy` and `macro_f1` of the composition that is replaced.
        after: The same of the tuned one, and `n`.
        pair: `against` (a key of `PREDICTIONS`), `differences` and `mcnemar` of the two on the same faces.
        values: The chosen values as best.json holds them; behind them those that were chosen on fewer faces.
    """
    return [_differences(before, after, pair), Text(_words(pair)), _values(values)]


def _differences(before: Mapping, after: Mapping, pair: Mapping) -> Table:
    rows = [
        (
            title,
            points(before[name]),
            points(after[name]),
            signed(pair["differences"][name]["difference"]),
            f"{signed(pair['differences'][name]['low'])} to {signed(pair['differences'][name]['high'])}",
        )
        for name, title in MEASURES.items()
    ]
    columns = ("Measure", f"{PREDICTIONS[pair['against']].capitalize()} %", "Tuned %", "Difference", "95 % interval")
    return Table(columns, rows, caption=f"n = {after['n']:,}; both on the same faces, differences in points")


def _words(pair: Mapping) -> str:
    test, differences = pair["mcnemar"], pair["differences"]
    clear = [
        f"{title[0].lower()}{title[1:]} ({'better' if differences[name]['difference'] > 0 else 'worse'})"
        for name, title in MEASURES.items()
        if not differences[name]["low"] <= 0 <= differences[name]["high"]
    ]
    standing = f"More than noise: {', '.join(clear)}." if clear else "No difference is more than noise."
    agreed = "no clear difference in accuracy" if test["p"] >= _ALPHA else "a clear difference in accuracy"
    return (
        f"{standing} Of the faces on which they disagree, the tuned composition alone is right on "
        f"{whole(test['b_only'])}, the {PREDICTIONS[pair['against']]} alone on {whole(test['a_only'])} "
        f"(McNemar p {chance(test['p'])}: {agreed})."
    )


def _values(values: Sequence[Mapping]) -> Table:
    temperatures, strengths = ([one[kind] for one in values] for kind in ("temperatures", "prior_strengths"))
    stages = dict.fromkeys(stage for held in (*temperatures, *strengths) for stage in held)
    rows = [
        (s, _cell([held.get(s, 1.0) for held in temperatures]), _cell([held.get(s, 0.0) for held in strengths]), "")
        for s in stages
    ]
    if flat := next((one["flat"] for one in values if one["blend"]), None):
        temperature, share = (_cell([one[key] for one in values]) for key in ("flat_temperature", "blend"))
        rows.append((f"flat: {flat}", temperature, "", share))
    caption = "The values; temperature 1, strength 0 and no blend change nothing"
    caption += "; in brackets those that were chosen without each fold" * (len(values) > 1)
    return Table(("Stage", "Temperature", "Prior strength", "Share in the blend"), rows, caption=caption)


def _cell(values: Sequence[float]) -> str:
    chosen, *others = values
    return decimals(chosen) + (f" ({decimals(min(others))} to {decimals(max(others))})" if others else "")
