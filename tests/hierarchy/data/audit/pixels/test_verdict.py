from functools import cache

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.data.audit.pixels import verdict as module
from fer_hierarchy.hierarchy.data.audit.pixels.measures import measure
from fer_hierarchy.hierarchy.data.audit.pixels.published import SHARES, Published, recognised
from fer_hierarchy.hierarchy.data.audit.pixels.verdict import require_published, verdict
from fer_hierarchy.hierarchy.data.images import ImageSet, load_images
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import ROOT
from tests.hierarchy.data.audit.pixels.test_measures import picture

SHARED = ROOT.parent / "shared" / "data"
EMOTIONS = ("happy", "sad", "fear")


def coded(quality):
    return lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


def through(side):
    return lambda p: cv2.resize(cv2.resize(p, (side, side), interpolation=cv2.INTER_AREA), p.shape[::-1])


def gamma(power):
    return lambda p: (255 * (p / 255) ** power).round().astype(np.uint8)


ALTERATIONS = {
    "histogram-equalised": cv2.equalizeHist,
    "blurred": lambda p: cv2.GaussianBlur(p, (19, 19), 0),
    "sharpened": lambda p: cv2.addWeighted(p, 2.5, cv2.GaussianBlur(p, (0, 0), 1.5), -1.5, 0),
    "enlarged": through(24),
    "JPEG": coded(10),
    "brighter": gamma(0.6),
    "darker": gamma(1.6),
    "inverted": lambda p: 255 - p,
    "coloured": lambda p: np.stack([p, (p * 0.9).astype(np.uint8), (p * 0.7).astype(np.uint8)], axis=-1),
    "borders": lambda p: cv2.copyMakeBorder(cv2.resize(p, (40, 40), interpolation=cv2.INTER_AREA), *[4] * 4, 0),
}


def faces(pictures, emotions, splits, source="fer2013", subjects=""):
    """An image set of pictures of any shapes and colours."""
    frame = {"emotion": emotions, "split": splits, "source": source, "subject": subjects, "height": 48, "width": 48}
    manifest = pd.DataFrame({"id": [f"face{i}" for i in range(len(pictures))], **frame})
    measures = np.concatenate([measure(p[None]) for p in pictures])
    return ImageSet(np.zeros((len(pictures), 1, 1, 1), np.uint8), manifest, manifest.head(0), "", measures)


@pytest.fixture(scope="module")
def true_set():
    """300 made-up faces: bright middle, dark corners, texture; (pictures, emotions, splits)."""
    light = 60 * np.exp(-np.add.outer(*[np.linspace(-1.5, 1.5, 48) ** 2] * 2)) - 30
    pictures = [np.clip(picture(i) * 0.8 + light + 20, 0, 255).astype(np.uint8) for i in range(300)]
    return pictures, np.resize(EMOTIONS, 300), np.where(np.arange(300) % 4 == 3, "test", "train")


@pytest.fixture
def known(true_set, monkeypatch):
    """The made-up faces as a published data set."""
    _, emotions, splits = true_set
    measures = faces(*true_set).measures
    counts = {s: {e: int(((emotions == e) & (splits == s)).sum()) for e in EMOTIONS} for s in ("train", "test")}
    table = Published(
        title="MADE-UP",
        splits={"train": "Training", "test": "Testing"},
        counts=counts,
        own_labels=True,
        quantiles={
            name: {"any": np.quantile(measures[:, column], SHARES).round(5).tolist()}
            for column, name in enumerate(module.MEASURES)
        },
        tolerance=dict.fromkeys(module.MEASURES, 0.06),
    )
    monkeypatch.setattr(module, "published", lambda source: table if source == "fer2013" else None)
    return table


def test_the_true_set_is_as_published(true_set, known):
    found = verdict(faces(*true_set))
    assert found.known == ["this is MADE-UP as published"]
    assert not found.altered
    assert not found.differences


@pytest.mark.parametrize("kind", ALTERATIONS)
def test_what_was_done_to_all_pictures_is_named(true_set, known, kind):
    pictures, emotions, splits = true_set
    found = verdict(faces([ALTERATIONS[kind](p) for p in pictures], emotions, splits))
    assert found.altered
    (line,) = found.known
    assert line.startswith("this is not MADE-UP as published")
    assert kind in line
    assert "Training" in line
    assert "Testing" in line


def test_the_altered_split_is_named_and_that_the_splits_differ(true_set, known):
    pictures, emotions, splits = true_set
    changed = [cv2.equalizeHist(p) if s == "train" else p for p, s in zip(pictures, splits, strict=True)]
    found = verdict(faces(changed, emotions, splits))
    assert "225 of 225 Training pictures look histogram-equalised" in found.known[0]
    assert "Testing" not in found.known[0]
    assert any(line.startswith("test pictures differ from train pictures") for line in found.differences)


def test_an_altered_class_is_named_and_gives_itself_away(true_set, known):
    pictures, emotions, splits = true_set
    changed = [cv2.GaussianBlur(p, (9, 9), 0) if e == "sad" else p for p, e in zip(pictures, emotions, strict=True)]
    found = verdict(faces(changed, emotions, splits))
    assert "Training sad pictures look blurred" in found.known[0]
    assert "happy" not in found.known[0]
    assert any(line.startswith("sad in train gives itself away by sharpness") for line in found.differences)


def test_a_part_of_the_set_and_grey_stored_as_colour_are_no_alteration(true_set, known):
    pictures, emotions, splits = true_set
    train = splits == "train"
    part = [np.stack([p] * 3, axis=-1) for p, keep in zip(pictures, train, strict=True) if keep]
    assert verdict(faces(part, emotions[train], splits[train])).known == [
        "this is MADE-UP as published but for the missing Testing"
    ]
    few = verdict(faces(pictures[:200], emotions[:200], splits[:200]))
    assert few.known == ["these are 200 of the 300 faces of MADE-UP, with pixels as published"]
    fewer = verdict(faces(pictures[:9], emotions[:9], splits[:9]))
    assert fewer.known == ["these are 9 of the 300 faces of MADE-UP, too few to compare their pixels"]


def test_more_faces_and_other_labels_than_published_are_reported(true_set, known):
    pictures, emotions, splits = true_set
    twice = verdict(faces([*pictures, *pictures], [*emotions, *emotions], [*splits, *splits]))
    assert "450 Training pictures, published are 225" in twice.known[0]
    other = np.where((emotions == "sad") & (splits == "train"), "happy", emotions)
    relabelled = verdict(faces(pictures, other, splits))
    assert relabelled.altered
    assert "other labels of Training pictures: 150 happy (published 75)" in relabelled.known[0]


def test_fer2013_is_recognised_by_its_counts_whatever_its_files_are_called():
    train = {"angry": 3995, "disgust": 436, "fear": 4097, "happy": 7215, "sad": 4830, "surprise": 3171, "neutral": 4965}
    test = {"angry": 958, "disgust": 111, "fear": 1024, "happy": 1774, "sad": 1247, "surprise": 831, "neutral": 1233}
    known = recognised({"train": train, "test": test})
    assert known.title == "FER-2013"
    assert known.splits["test"] == "PublicTest and PrivateTest"
    assert known.faces == 35_887
    assert recognised({"train": {**train, "happy": 7214}, "test": test}) is None
    assert recognised({"train": {"happy": 5}}) is None


def test_rafdb_is_known_by_its_counts_alone(true_set):
    pictures, _, _ = true_set
    found = verdict(faces([255 - p for p in pictures[:60]], np.repeat(["fear", "sad"], 30), ["train"] * 60, "rafdb"))
    assert found.known == ["these are 60 of 15,339 faces of RAF-DB by their counts; its pixels are not known here"]
    more = verdict(faces(pictures, ["fear"] * 300, ["train"] * 300, "rafdb"))
    assert more.altered
    assert "300 fear (published 281)" in more.known[0]


def test_an_unknown_set_is_not_called_altered_but_its_signs_are_reported(true_set):
    pictures, emotions, splits = true_set
    found = verdict(faces([cv2.equalizeHist(p) for p in pictures], emotions, splits, source="folder"))
    assert not found.altered
    assert found.known == []
    assert "225 of 225 train pictures of folder look histogram-equalised" in found.signs


def test_splits_by_person_do_not_differ_because_people_do():
    # Each person has a brightness of their own; the people of the two splits are drawn alike.
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(50), 20)
    level = rng.uniform(60, 180, 50)
    pictures = [
        np.clip(picture(i) // 4 + level[person] - 32, 0, 255).astype(np.uint8) for i, person in enumerate(people)
    ]
    splits = np.where(people < 25, "train", "test")
    alike = faces(pictures, np.resize(EMOTIONS, 1000), splits, "folder", people.astype(str))
    alone = faces(pictures, np.resize(EMOTIONS, 1000), splits, "folder")
    assert not verdict(alike).differences
    assert verdict(alone).differences  # taken one by one, the same pictures differ far beyond chance


def test_strict_data_refuses_and_otherwise_a_warning_stands(true_set, known, caught_logs):
    pictures, emotions, splits = true_set
    found = verdict(faces([255 - p for p in pictures], emotions, splits))
    with pytest.raises(UserError, match="--strict-data: this is not MADE-UP as published"):
        require_published(found, strict=True)
    require_published(found, strict=False)
    assert "DATA: this is not MADE-UP as published" in caught_logs.text
    require_published(verdict(faces(*true_set)), strict=True)


def real(name):
    path = SHARED / name
    return pytest.param(path, marks=[pytest.mark.real_data, pytest.mark.skipif(not path.exists(), reason=f"no {path}")])


@cache
def loaded(path):
    return load_images(read_source(path), size=48, channels=1, skip_bad=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [real("ck48"), real("rgbd/BU3DFE"), real("rgbd/BosphorusDB"), real("rgbd/CalD3rMenD3s")]
)
def test_no_true_set_is_called_altered(path):
    found = verdict(loaded(path))
    assert not found.altered
    assert not found.differences


@pytest.mark.slow
@pytest.mark.parametrize("path", [real("fer2013")])
def test_true_fer2013_is_as_published_and_so_are_its_parts(path):
    images = loaded(path)
    found = verdict(images)
    assert found.known == ["this is FER-2013 as published but for the missing PrivateTest"]
    assert not found.differences
    for seed, n in enumerate((60, 200, 1000)):
        rows = np.sort(np.random.default_rng(seed).choice(len(images.manifest), n, replace=False))
        part = images.manifest.iloc[rows].reset_index(drop=True)
        few = verdict(ImageSet(images.pixels[rows], part, images.bad, "", images.measures[rows]))
        assert not few.altered, few.known


@pytest.mark.parametrize("path", [real("fer2013-altered/equalised")])
def test_the_equalised_copy_is_recognised(path):
    (line,) = verdict(loaded(path)).known
    assert line.startswith("this is not FER-2013 as published")
    assert "of 1,065 Training pictures look histogram-equalised" in line
    assert "of 136 PublicTest pictures look histogram-equalised" in line


@pytest.mark.parametrize("path", [real("fer2013")])
@pytest.mark.parametrize("kind", ALTERATIONS)
def test_alterations_of_a_few_true_faces_are_recognised(path, kind):
    images = loaded(path)
    rows = np.sort(np.random.default_rng(0).choice(len(images.manifest), 400, replace=False))
    part = images.manifest.iloc[rows].reset_index(drop=True)
    changed = [measure(ALTERATIONS[kind](p[..., 0])[None]) for p in images.pixels[rows]]
    (line,) = verdict(ImageSet(images.pixels[rows], part, images.bad, "", np.concatenate(changed))).known
    assert line.startswith("this is not FER-2013 as published")
    assert kind in line


@pytest.mark.parametrize("path", [real("fer2013")])
def test_true_faces_with_other_labels_are_no_alteration_and_altered_ones_are(path):
    images = loaded(path)
    manifest = images.manifest.assign(source="ferplus")
    relabelled = ImageSet(images.pixels, manifest, images.bad, "", images.measures)
    assert not verdict(relabelled).altered
    surprise = np.flatnonzero(manifest["emotion"] == "surprise")
    part = manifest.iloc[surprise].reset_index(drop=True)
    one = verdict(ImageSet(images.pixels[surprise], part, images.bad, "", images.measures[surprise]))
    assert not one.altered, one.known
    changed = measure(np.stack([cv2.equalizeHist(p[..., 0]) for p in images.pixels[surprise]]))
    (line,) = verdict(ImageSet(images.pixels[surprise], part, images.bad, "", changed)).known
    assert "look histogram-equalised" in line
