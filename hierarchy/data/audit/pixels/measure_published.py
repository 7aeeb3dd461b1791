"""Measure the true pictures of a known data set and write what `hierarchy.data.audit.pixels.published` compares with.

Anyone with the true set can repeat it:
python -m fer_hierarchy.hierarchy.data.audit.pixels.measure_published fer2013 --data data/fer2013
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.audit.pixels.measures import MEASURES
from fer_hierarchy.hierarchy.data.audit.pixels.published import ANY, DIGITS, SHARES, TABLE
from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write

_SIZE = 48  # pixels of the decoded copy; measures are taken at native size


def main(words: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="measure_published", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="the data set, a key of published.json that has its counts")
    parser.add_argument(
        "--data", type=Path, required=True, help="where the true set lies, complete but for whole splits"
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="the file to bring up to date")
    given = parser.parse_args(words)
    try:
        update(given.table, given.name, given.data)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def update(table: Path, name: str, data: Path) -> None:
    """Replace the quantiles of one data set in `table`.

    Raises:
        UserError: The table or the data cannot be read, or the counts of the data are not those in the table.
    """
    try:
        records = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--table: {table} is not readable as JSON ({error})") from error
    if name not in records:
        raise UserError(f"{name!r} is not in {table}; known: {', '.join(records)}")
    record = records[name]
    images = load_images(read_source(data, dataset=record["sources"][0]), size=_SIZE, channels=1, skip_bad=False)
    _check_counts(images.manifest, record)
    record["measured"] = {"faces": len(images.manifest), "fingerprint": images.fingerprint}
    record["quantiles"] = _quantiles(images.manifest["emotion"].to_numpy(str), images.measures)
    with atomic_write(table) as temporary:
        temporary.write_text(_text(records), encoding="utf-8")


def _check_counts(manifest: pd.DataFrame, record: dict) -> None:
    for split, rows in manifest.groupby("split"):
        counts, right = rows["emotion"].value_counts().to_dict(), record["counts"].get(split)
        if counts != right:
            raise UserError(f"{split or 'all'} faces by emotion are {counts}, published are {right}")


def _quantiles(emotions: np.ndarray, measures: np.ndarray) -> dict[str, dict[str, list[float]]]:
    groups = {ANY: np.ones(len(emotions), bool), **{name: emotions == name for name in np.unique(emotions)}}
    return {
        measure: {
            str(name): np.quantile(measures[rows, column].astype(np.float64), SHARES).round(DIGITS).tolist()
            for name, rows in groups.items()
        }
        for column, measure in enumerate(MEASURES)
    }


def _text(records: dict) -> str:
    """Indented JSON with each list on one line."""
    return re.sub(r"\[[^\]]*\]", lambda found: " ".join(found[0].split()), json.dumps(records, indent=1)) + "\n"


if __name__ == "__main__":
    sys.exit(main())
