"""The straight line from a path to labelled, split faces: sources -> taxonomy -> images -> splits."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import SYNTHETIC, DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import Verdict, require_published, verdict
from fer_hierarchy.hierarchy.data.depth.depth_planes import colours
from fer_hierarchy.hierarchy.data.images import ImageSet, load_images
from fer_hierarchy.hierarchy.data.manifest import SOFT_PREFIX, UNDECIDED, vote_columns, with_votes
from fer_hierarchy.hierarchy.data.sources import EMBEDDED, read_source
from fer_hierarchy.hierarchy.data.splits import assign, drop_duplicates, limit_rows, note_shared_subjects
from fer_hierarchy.hierarchy.data.train_only import (
    GENERATED,
    append_generated,
    check_makers,
    join_generated,
    join_undecided,
    refuse_as_data,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.own_classes import understood
from fer_hierarchy.hierarchy.paths import DEFAULT_DATA
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

log = logging.getLogger("fer_hierarchy")


@dataclass(frozen=True, kw_only=True)
class StageFaces:
    """The faces of one split as one stage sees them.

    Attributes:
        pixels: (n, height, width, channels) uint8, all faces of the data set; uint16 where the last plane is depth.
        rows: (m,) int64 rows of `pixels` whose emotion the stage knows.
        labels: (m,) int64 class index in the stage.
        targets: (m, classes) float32, one-hot or vote shares.
        generated: (m,) bool, True for faces that a network made; only train has some.
    """

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    generated: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Faces:
    """All faces of a run.

    Attributes:
        images: Decoded faces; `images.pixels` is (n, size, size, channels) uint8, or uint16 with a depth plane.
        manifest: The rows that the run uses, `split` filled; the index is the row of `images.pixels`.
        taxonomy: The grouping, without excluded and absent emotions.
    """

    images: ImageSet
    manifest: pd.DataFrame
    taxonomy: Taxonomy

    @cached_property
    def verdict(self) -> Verdict:
        """Whether the pixels are those of the data set as published, and where the run's splits differ in them."""
        return verdict(self.images, self.manifest)

    @property
    def synthetic(self) -> bool:
        """Whether any face is drawn by a program."""
        return bool(is_synthetic(self.manifest).any())

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in manifest order."""
        return self.manifest[self.manifest["split"] == name]

    def stage_view(self, stage: str, split: str, *, soft_labels: bool = False) -> StageFaces:
        """The faces of a split whose emotion a stage knows, with its own labels.

        Args:
            stage: Name of a stage of the taxonomy.
            split: "train", "validation" or "test".
            soft_labels: Use vote shares as targets; the manifest must hold them. Without, faces that people did not
                agree on are left out.
        """
        rows = self.split(split)
        if not soft_labels and UNDECIDED in rows:
            rows = rows[~rows[UNDECIDED]]
        labels = np.array(self.taxonomy.stage_labels(stage, rows["emotion"]), dtype=np.int64)
        rows, labels = rows[labels >= 0], labels[labels >= 0]
        targets = np.eye(len(self.taxonomy.stage_classes(stage)), dtype=np.float32)[labels]
        if soft_labels:
            votes = rows[[SOFT_PREFIX + emotion for emotion in self.taxonomy.emotions]].to_numpy(np.float32)
            targets = as_stage_shares(votes, self.taxonomy, stage, otherwise=targets)
        return StageFaces(
            pixels=self.images.pixels,
            rows=rows.index.to_numpy(),
            labels=labels,
            targets=targets,
            generated=(rows["source"] == GENERATED).to_numpy(bool),
        )

    def pixels_of(self, ids: Sequence[str]) -> np.ndarray:
        """The colours of faces by manifest id, (n, height, width, channels) uint8."""
        positions = pd.Series(self.manifest.index, index=self.manifest["id"])
        return colours(self.images.pixels[positions.loc[list(ids)].to_numpy()])


def is_synthetic(manifest: pd.DataFrame) -> pd.Series:
    """Which rows are faces that the program draws."""
    return manifest["source"].str.startswith(SYNTHETIC)


def as_stage_shares(shares: np.ndarray, taxonomy: Taxonomy, stage: str, *, otherwise: np.ndarray) -> np.ndarray:
    """Shares of the emotions, summed into a stage's classes and renormalised.

    Args:
        shares: (n, emotions) float32, as `taxonomy.emotions`.
        taxonomy: The grouping.
        stage: Name of one of its stages.
        otherwise: (n, classes) float32, what stands where nothing falls into the stage's classes.

    Returns:
        (n, classes) float32.
    """
    summed = np.zeros_like(otherwise)
    for place, label in enumerate(taxonomy.stage_labels(stage, taxonomy.emotions)):
        if label >= 0:
            summed[:, label] += shares[:, place]
    total = summed.sum(axis=1, keepdims=True)
    return np.where(total > 0, summed / np.maximum(total, 1e-9), otherwise).astype(np.float32)


def resolve_data(config: DataConfig) -> DataConfig:
    """Fill in what to read where nothing is named: data/fer2013 if it is there, else synthetic faces with a warning."""
    if config.data is not None or config.dataset in EMBEDDED:
        return config
    if DEFAULT_DATA.exists() and config.dataset in (None, "fer2013"):
        return dataclasses.replace(config, data=str(DEFAULT_DATA))
    if config.dataset is not None:  # the source names what is missing
        return config
    log.warning("No --data was given and data/fer2013 does not exist: the embedded synthetic faces take its place.")
    return dataclasses.replace(config, dataset=SYNTHETIC)


def read_manifest(config: DataConfig, *, undecided: bool = False) -> pd.DataFrame:
    """The manifest of the data that `config` (resolved) names, generated faces not included.

    Args:
        config: What to read.
        undecided: With the faces that people did not agree on, which are only good for training on vote shares.

    Raises:
        UserError: It cannot be read, or nothing in it is real.
    """
    ferplus = None if config.ferplus is None else Path(config.ferplus)
    with understood(config.own_classes):
        parts = [
            read_source(None if path is None else Path(path), dataset=config.dataset, ferplus=ferplus)
            for path in config.paths or (None,)
        ]
    manifest = parts[0] if len(parts) == 1 else _merged(parts, config.paths)
    refuse_as_data(manifest)
    if UNDECIDED in manifest:
        manifest = _decided(manifest, config, undecided=undecided)
    if is_synthetic(manifest).any():
        log.warning("SYNTHETIC faces: drawn by a program; scores on them prove nothing about real people.")
    return _strong(manifest, config)


def _decided(manifest: pd.DataFrame, config: DataConfig, *, undecided: bool) -> pd.DataFrame:
    """The faces with a majority of the votes; with `undecided` those of train too on which people did not agree.

    Evaluation goes by majority, as in FER+'s paper.

    Raises:
        UserError: An emotion has no face with a majority.
    """
    by, agreed = "the majority of FER+'s votes", manifest[~manifest[UNDECIDED]]
    refuse_emptied(manifest, agreed, by, left_out=config.left_out)
    kept = ~manifest[UNDECIDED] | (undecided & (manifest["split"] == "train"))
    return manifest[kept].reset_index(drop=True)


def _merged(parts: Sequence[pd.DataFrame], paths: Sequence[str]) -> pd.DataFrame:
    """One manifest of several; `source` is where a face is from, and subjects are people of their source.

    Raises:
        UserError: Two of the places hold the same files.
    """
    repeated = pd.concat(parts)["id"].duplicated(keep=False).any()
    voted = list(dict.fromkeys(column for part in parts for column in vote_columns(part)))
    parts = [with_votes(part, voted) for part in parts]
    named = [
        part.assign(id=f"{number}/" + part["id"]) if repeated else part for number, part in enumerate(parts, start=1)
    ]
    manifest = pd.concat(named, ignore_index=True)
    twice = manifest[manifest["path"].duplicated() & (manifest["row"] < 0)]
    if len(twice):
        raise UserError(f"--data {', '.join(paths)}: {len(twice)} files stand in two of them ({twice['path'].iloc[0]})")
    listed = ", ".join(f"{len(part)} faces of {path}" for part, path in zip(parts, paths, strict=True))
    log.warning("Merged %d data sets: %s.", len(parts), listed)
    return manifest


def _strong(manifest: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    """The faces whose expression is strong enough; those without an intensity (neutral ones) stay.

    Raises:
        UserError: The data has no intensities.
    """
    least = config.min_intensity
    if least is None:
        return manifest
    if not (manifest["intensity"] > 0).any():
        raise UserError(f"--min-intensity {least}: this data has no intensities; BU-3DFE does")
    strong = manifest[(manifest["intensity"] == 0) | (manifest["intensity"] >= least)].reset_index(drop=True)
    refuse_emptied(manifest, strong, f"--min-intensity {least}", left_out=config.left_out)
    return strong


def refuse_emptied(before: pd.DataFrame, after: pd.DataFrame, by: str, *, left_out: Sequence[str] = ()) -> None:
    """Refuse a filter that leaves an emotion without a face, of all or in one of the splits.

    Args:
        before: What was filtered.
        after: What is left.
        by: What filters, as users know it.
        left_out: Emotions that the run does without.

    Raises:
        UserError: It does, with the split and the folder or file of the faces.
    """
    kept = set(zip(after["split"], after["emotion"], strict=True))
    groups = before[~before["emotion"].isin(left_out)].groupby(["split", "emotion"], sort=False)
    gone = [_emptied(split, emotion, faces) for (split, emotion), faces in groups if (split, emotion) not in kept]
    if gone:
        listed = ", ".join(gone)
        raise UserError(f"{by} leaves no face of {listed}; change that, or leave it out on purpose by --exclude")


def _emptied(split: str, emotion: str, faces: pd.DataFrame) -> str:
    """What a filter leaves without a face, in words."""
    files = faces["path"].where(faces["row"] >= 0, faces["path"].map(lambda path: str(Path(path).parent)))
    first, *others = files.unique()
    place = first + (f" and {len(others)} more folders" if others else "")
    return f"{emotion} in {split or 'the data'} (all {len(faces)} of {place})"


def decode(manifest: pd.DataFrame, data: DataConfig, *, with_depth: bool, size: int = 0) -> ImageSet:
    """The faces of a manifest as a run's settings want them; see `hierarchy.data.images.load_images`.

    Args:
        manifest: What to decode.
        data: Size, colours, alignment, and what to do with bad images.
        with_depth: Whether each face comes with its depth plane.
        size: Side in pixels where `data` leaves it open.
    """
    return load_images(
        manifest,
        size=data.image_size or size,
        channels=data.channels or (3 if with_depth else 1),
        skip_bad=data.skip_bad,
        depth=with_depth,
        align=data.align,
    )


def read_faces(config: RunConfig) -> Faces:
    """Read, select, decode and split the faces of a run.

    Raises:
        UserError: Anything that is wrong with the data or does not fit the taxonomy.
    """
    data = config.data
    manifest = read_manifest(data, undecided=config.learns_votes)
    if config.learns_votes and UNDECIDED not in manifest:
        raise UserError(
            "--soft-labels trains on FER+ votes, which this data lacks; give --ferplus with FER-2013, or FER+'s folders"
        )
    manifest = manifest[~manifest["emotion"].isin(data.left_out)].reset_index(drop=True)
    grouping = config.grouping()
    grouping.restrict(manifest["emotion"])  # data that does not fit is refused before the long decoding
    if data.generated:
        with understood(data.own_classes):
            manifest = append_generated(manifest, Path(data.generated))
    images = decode(manifest, data, with_depth=config.reads_depth)
    refuse_emptied(manifest, images.manifest, "--skip-bad")
    real, undecided, made = _kinds(images.manifest)
    taxonomy = _restricted(grouping, real["emotion"])
    rows = drop_duplicates(assign(real, data, seed=config.seed), drop=data.drop_duplicates)
    kept = limit_rows(rows, data.limit, seed=config.seed) if data.limit else rows
    note_shared_subjects(kept)
    sample = {"share": (kept["split"] == "train").sum() / (rows["split"] == "train").sum(), "seed": config.seed}
    if len(undecided):
        kept = join_undecided(kept, undecided, rows=rows, emotions=taxonomy.emotions, **sample)
    if data.generated:
        check_makers(made, rows, Path(data.generated))
        kept = join_generated(kept, made, emotions=taxonomy.emotions, **sample)
    faces = Faces(images=images, manifest=kept, taxonomy=taxonomy)
    require_published(faces.verdict, strict=data.strict_data)
    return faces


def _kinds(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rows that are split, those that people did not agree on, and the generated ones."""
    made = manifest["source"] == GENERATED
    undecided = manifest[UNDECIDED] if UNDECIDED in manifest else pd.Series(False, index=manifest.index)
    return manifest[~made & ~undecided], manifest[undecided], manifest[made]


def _restricted(grouping: Taxonomy, emotions: pd.Series) -> Taxonomy:
    """The taxonomy over the emotions of the usable faces; warns of those that are missing."""
    present = set(emotions)
    absent = [e for e in grouping.emotions if e not in present and e != "contempt"]
    if absent:
        log.warning("The data holds no %s: the taxonomy goes on without.", ", ".join(absent))
    return grouping.restrict(present)
