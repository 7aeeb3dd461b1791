"""Finished runs side by side: read, compared, and written as a report of their own."""

import json
from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.data.faces import SYNTHETIC
from fer_hierarchy.hierarchy.experiments import comparison as several
from fer_hierarchy.hierarchy.experiments.comparison_sections import SIDE_BY_SIDE, comparison_page
from fer_hierarchy.hierarchy.experiments.side_by_side import side_by_side
from fer_hierarchy.hierarchy.experiments.side_by_side_sections import FacesOf
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.reports.page import write_page
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.runs.run_folder import write_table


def compare_runs(
    names: Sequence[str], *, name: str | None, resamples: int, seed: int, results: Path, command: str
) -> Path:
    """Put finished runs side by side on the same test rows.

    Raises:
        UserError: A run is not finished, or the runs were judged on other rows or classes.
    """
    run_folder.check_writable(results)
    run_folder.check_name(name, results)
    records = [several.load_run(run_folder.find_run(run, results)) for run in names]
    table = {**several.compare(records, resamples=resamples, seed=seed), "command": command}
    stem = name or "compare-" + "-vs-".join(record["name"] for record in table["runs"])[:120]
    if table["synthetic"] and SYNTHETIC not in stem:
        stem = f"{SYNTHETIC}-{stem}"
    with run_folder.new_folder(results, run_folder.free_name(stem, results)) as folder:
        write_comparison(folder, table, records, faces=Run(records[0].folder).pictures)
    return folder


def write_comparison(
    folder: Path,
    comparison: dict,
    runs: Sequence[several.RunRecord] = (),
    *,
    faces: FacesOf | None = None,
) -> None:
    """Write comparison.json, figures/*.png, report.md and report.html of runs side by side.

    Args:
        folder: Where to write; made if it is not there.
        comparison: What `hierarchy.experiments.comparison` returns.
        runs: The compared runs, for side_by_side.csv: all test faces with every run's probabilities.
        faces: Gives test faces by id, or None; without it only ids are shown.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    write_record(folder / "comparison.json", comparison)
    if runs:
        write_table(folder / SIDE_BY_SIDE, side_by_side(several.opinions(runs), comparison["classes"]))
    write_page(comparison_page(folder, comparison, faces), folder)


def write_record(path: Path, record: dict) -> None:
    """Write a table of several runs as JSON that people can read."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
