"""What an audit says of pixels: every measure by source and split, and the most unusual faces."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import verdict
from fer_hierarchy.hierarchy.data.images import ImageSet

SPLITS = ("train", "validation", "test", "")
SPAN = (0.05, 0.5, 0.95)  # quantiles in the table
_COMMON = 0.01  # share of the faces from which a value is nothing unusual


def audit_pixels(images: ImageSet) -> dict:
    """Measures, verdict and unusual faces of a data set.

    Args:
        images: All its usable pictures.

    Returns:
        {"known", "altered", "signs", "differences"} as in `Verdict`; "table" [{source, split, images, measures {name:
        [5th percentile, median, 95th percentile]}}]; "unusual" [{id, measure, value, end}], the faces with the lowest
        and the highest value of each measure.
    """
    groups = images.manifest.groupby(["source", "split"], sort=False).indices
    ordered = sorted(groups, key=lambda key: (key[0], SPLITS.index(key[1])))
    return {
        **dataclasses.asdict(verdict(images)),
        "table": [
            {"source": source, "split": split, "images": len(groups[source, split]), "measures": _spans(images, places)}
            for (source, split), places in ((key, groups[key]) for key in ordered)
        ],
        "unusual": list(_unusual(images)),
    }


def _spans(images: ImageSet, places: np.ndarray) -> dict[str, list[float]]:
    spans = np.quantile(images.measures[places], SPAN, axis=0)
    return {name: [round(float(value), 4) for value in spans[:, column]] for name, column in COLUMN.items()}


def _unusual(images: ImageSet) -> Iterator[dict]:
    """The faces at both ends of each measure, each face once; an end that many faces share is nothing unusual."""
    ids = images.manifest["id"]
    free = np.ones(len(ids), bool)
    for name, column in COLUMN.items():
        values = images.measures[:, column]
        for end, extreme, order in (("lowest", values.min(), values), ("highest", values.max(), -values)):
            if not free.any() or (values == extreme).sum() > max(1, _COMMON * len(values)):
                continue
            place = np.flatnonzero(free)[order[free].argmin()]
            free[place] = False
            yield {"id": ids.iloc[place], "measure": name, "value": round(float(values[place]), 4), "end": end}
