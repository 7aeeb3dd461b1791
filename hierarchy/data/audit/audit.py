"""What is wrong with a data set, before anybody trains on it: counts, copies, conflicts, blanks, sizes, subjects."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.data.audit.pixels.measures import COLUMN
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import verdict
from fer_hierarchy.hierarchy.data.duplicates import (
    BLANK_DEVIATION,
    NEAR_CORRELATION,
    blank_images,
    exact_groups,
    near_groups,
)
from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.data.sources import source_module
from fer_hierarchy.hierarchy.taxonomy import class_order

SPLITS = ("train", "validation", "test", "")
NO_SPLIT = "unassigned"  # what tables call rows to which the source gives no split
SPAN = (0.05, 0.5, 0.95)  # quantiles in the table of measures
_COMMON = 0.01  # share of the faces from which a value is nothing unusual


def audit(image_set: ImageSet) -> dict:
    """Examine a data set.

    Args:
        image_set: All its images, loaded with `skip_bad=True`.

    Returns:
        Tables that JSON can hold:
        `images`, `fingerprint`, `sources`, `synthetic`;
        `counts` {split: {emotion: n}}, `imbalance` {split: largest / smallest class or None};
        `exact`, `near` {groups, images, across_splits, conflicting, conflicting_across_splits, listed} where listed
        holds for every group {ids, splits, emotions, across_splits, conflicting}, and `near` its `threshold`;
        `blank` {threshold, images, ids}; `bad` {images, listed}; `sizes` [{height, width, images}];
        `subjects` {known, in_several_splits, listed}; `pixels` as `audit_pixels` gives it.
    """
    manifest, pixels = image_set.manifest, image_set.pixels
    hashes = manifest["pixel_hash"].to_numpy(dtype=str)
    counts = _counts(manifest)
    sources = sorted(manifest["source"].unique())
    return {
        "format": 1,
        "images": len(manifest),
        "fingerprint": image_set.fingerprint,
        "sources": sources,
        "synthetic": any("synthetic" in source for source in sources),
        "counts": counts,
        "imbalance": {split: _imbalance(classes.values()) for split, classes in counts.items()},
        "exact": _duplicates(manifest, exact_groups(hashes)),
        "near": {"threshold": NEAR_CORRELATION, **_duplicates(manifest, near_groups(pixels, hashes))},
        "blank": _blank(manifest, blank_images(pixels)),
        "bad": {"images": len(image_set.bad), "listed": image_set.bad.to_dict("records")},
        "sizes": _sizes(manifest),
        "subjects": _subjects(manifest),
        "pixels": audit_pixels(image_set),
    }


def audit_depth(manifest: pd.DataFrame, pairs: ImageSet) -> list[dict]:
    """Examine the depth that comes with pictures, source by source.

    Args:
        manifest: All pictures.
        pairs: Those with a depth file, loaded with `depth=True` and `skip_bad=True`.

    Returns:
        For each source with depth {source, kind, mm_per_unit, images (that can be used), without (a depth file),
        bad [{id, path, reason}], holes (mean share of a face's square that was not measured)}.
    """
    tables = []
    for source, rows in manifest.groupby("source"):
        kinds = sorted(set(rows["depth_kind"]) - {""})
        if not kinds:
            continue
        usable = pairs.manifest["source"] == source
        planes = pairs.pixels[usable.to_numpy()][..., -1]
        tables.append(
            {
                "source": source,
                "kind": kinds[0],
                "mm_per_unit": source_module(source).DEPTH.mm_per_unit,
                "images": int(usable.sum()),
                "without": int((rows["depth_path"] == "").sum()),
                "bad": pairs.bad[pairs.bad["id"].isin(rows["id"])].to_dict("records"),
                "holes": float((planes == 0).mean()) if len(planes) else None,
            }
        )
    return tables


def _counts(manifest: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Images by split and emotion; every emotion of the data stands in every split, with 0 where it has none."""
    table = pd.crosstab(manifest["split"], manifest["emotion"])
    emotions = sorted(table.columns, key=class_order)
    return {
        split or NO_SPLIT: {e: int(table.loc[split, e]) for e in emotions} for split in SPLITS if split in table.index
    }


def _imbalance(counts: Iterable[int]) -> float | None:
    present = [n for n in counts if n]
    return round(max(present) / min(present), 2) if present else None


def _duplicates(manifest: pd.DataFrame, groups: list[np.ndarray]) -> dict:
    ids, splits, emotions = (manifest[name].to_numpy(dtype=object) for name in ("id", "split", "emotion"))
    listed = [
        {
            "ids": ids[group].tolist(),
            "splits": [split or NO_SPLIT for split in splits[group]],
            "emotions": emotions[group].tolist(),
            "across_splits": len(set(splits[group])) > 1,
            "conflicting": len(set(emotions[group])) > 1,
        }
        for group in groups
    ]
    return {
        "groups": len(groups),
        "images": sum(map(len, groups)),
        "across_splits": sum(g["across_splits"] for g in listed),
        "conflicting": sum(g["conflicting"] for g in listed),
        "conflicting_across_splits": sum(g["across_splits"] and g["conflicting"] for g in listed),
        "listed": listed,
    }


def _blank(manifest: pd.DataFrame, blank: np.ndarray) -> dict:
    return {
        "threshold": BLANK_DEVIATION,
        "images": int(blank.sum()),
        "ids": manifest["id"].to_numpy(dtype=object)[blank].tolist(),
    }


def _sizes(manifest: pd.DataFrame) -> list[dict[str, int]]:
    """Native sizes, the most frequent first."""
    table = manifest.groupby(["height", "width"]).size().sort_values(ascending=False, kind="stable")
    return [{"height": int(h), "width": int(w), "images": int(n)} for (h, w), n in table.items()]


def _subjects(manifest: pd.DataFrame) -> dict:
    named = manifest[manifest["subject"] != ""]
    splits = named.groupby("subject")["split"].unique()
    listed = [
        {"subject": subject, "splits": sorted(split or NO_SPLIT for split in found)}
        for subject, found in splits.items()
        if len(found) > 1
    ]
    return {"known": len(splits), "in_several_splits": len(listed), "listed": listed}


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
