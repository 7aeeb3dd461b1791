import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data.audit.audit import audit
from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.reports.audit import write_audit
from fer_hierarchy.hierarchy.training.pipeline import audit_data
from tests.conftest import CHECKOUT, QUICK

REAL = CHECKOUT.parent / "shared" / "data"
FER2013_FINGERPRINT = "f106554c017cfc6f"  # Training and PublicTest with their true pixels


def face(seed):
    """48x48 smooth noise: two seeds hardly correlate, as two photographs."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC))


def image_set(tmp_path, rows, *, source="folder"):
    """Rows of (pixels or None for a broken file, emotion, split, subject)."""
    paths = [tmp_path / f"{i:02d}.png" for i in range(len(rows))]
    for path, (pixels, *_) in zip(paths, rows, strict=True):
        if pixels is None:
            path.write_bytes(b"broken")
        else:
            Image.fromarray(pixels).save(path)
    manifest = pd.DataFrame(
        {
            "id": [p.stem for p in paths],
            "path": [str(p) for p in paths],
            "row": -1,
            "emotion": [row[1] for row in rows],
            "split": [row[2] for row in rows],
            "source": source,
            "subject": [row[3] for row in rows],
            "depth_path": "",
        }
    )
    return load_images(manifest, size=48, channels=1, skip_bad=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    near = face(0).copy()
    near[44:46, 4:16] = 255  # a watermark
    return image_set(
        tmp_path_factory.mktemp("set"),
        [
            (face(0), "happy", "train", "a"),
            (face(0), "happy", "test", "b"),  # exact, across splits
            (near, "sad", "train", "a"),  # near both of them, other label
            (face(1), "angry", "train", "a"),
            (face(1), "fear", "train", "c"),  # exact, conflicting
            (face(2), "happy", "train", "c"),
            (face(3), "happy", "test", "c"),  # subject c in two splits
            (np.full((48, 48), 7, np.uint8), "sad", "train", "d"),  # blank, twice
            (np.full((48, 48), 7, np.uint8), "sad", "train", "d"),
            (face(4)[:40, :30], "fear", "test", "e"),  # another size
            (None, "sad", "test", "e"),
        ],
    )


def test_counts_imbalance_sizes(images):
    found = audit(images)
    assert found["images"] == 10
    assert found["counts"] == {
        "train": {"angry": 1, "fear": 1, "happy": 2, "sad": 3},
        "test": {"angry": 0, "fear": 1, "happy": 2, "sad": 0},
    }
    assert found["imbalance"] == {"train": 3.0, "test": 2.0}
    assert found["sizes"] == [
        {"height": 48, "width": 48, "images": 9},
        {"height": 40, "width": 30, "images": 1},
    ]


def test_exact_copies_across_splits_and_conflicts(images):
    exact = audit(images)["exact"]
    listed = [(g["ids"], g["across_splits"], g["conflicting"]) for g in exact.pop("listed")]
    assert listed == [(["00", "01"], True, False), (["03", "04"], False, True), (["07", "08"], False, False)]
    assert exact == {"groups": 3, "images": 6, "across_splits": 1, "conflicting": 1, "conflicting_across_splits": 0}


def test_near_copies_hold_exact_ones_but_no_blanks(images):
    near = audit(images)["near"]
    assert [g["ids"] for g in near["listed"]] == [["00", "01", "02"]]
    assert near["listed"][0]["splits"] == ["train", "test", "train"]
    assert near["conflicting_across_splits"] == 1
    assert 0.9 < near["threshold"] < 1


def test_blank_bad_and_subjects(images):
    found = audit(images)
    assert found["blank"]["ids"] == ["07", "08"]
    assert [(row["id"], "not an image" in row["reason"]) for row in found["bad"]["listed"]] == [("10", True)]
    listed = [(entry["subject"], entry["splits"]) for entry in found["subjects"]["listed"]]
    assert listed == [("c", ["test", "train"])]
    assert found["subjects"]["known"] == 5


def test_near_copies_of_light_and_contrast_and_many_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_hierarchy.hierarchy.data.duplicates._TILE", (4, 8))
    monkeypatch.setattr("fer_hierarchy.hierarchy.data.duplicates._VERIFIED_AT_ONCE", 2)
    rows = [(face(i), "happy", "", "") for i in range(30)]
    rows += [((face(i) * 0.7 + 30).astype(np.uint8), "happy", "", "") for i in (3, 17, 29)]
    near = audit(image_set(tmp_path, rows))["near"]
    assert [g["ids"] for g in near["listed"]] == [["03", "30"], ["17", "31"], ["29", "32"]]
    assert near["across_splits"] == 0
    assert set(near["listed"][0]["splits"]) == {"unassigned"}


@pytest.mark.usefixtures("rendered")
def test_files_are_written_and_the_page_is_self_contained(images, tmp_path):
    found = {**audit(images), "notes": ["test holds 6 images outside of class folders."]}
    folder = tmp_path / "results" / "audit"
    write_audit(folder, found, images)
    assert "test holds 6 images outside of class folders." in (folder / "report.html").read_text()
    assert json.loads((folder / "audit.json").read_text()) == found
    duplicates = pd.read_csv(folder / "duplicates.csv", dtype={"id": str})
    assert len(duplicates) == found["exact"]["images"] + found["near"]["images"]
    assert set(duplicates.loc[duplicates["kind"] == "near", "id"]) == {"00", "01", "02"}
    assert pd.read_csv(folder / "bad.csv", dtype=str)["id"].tolist() == ["10"]
    for name in ("counts", "duplicates", "near_duplicates"):
        with Image.open(folder / "figures" / f"{name}.png") as figure:
            assert min(figure.size) > 200
    page = (folder / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "1 group of equal images carries different labels" in page
    assert "figures/duplicates.png" in (folder / "report.md").read_text()
    assert "ynthetic" not in page


def test_a_clean_synthetic_set_is_marked_as_such(tmp_path):
    clean = image_set(tmp_path, [(face(i), "happy", "train", "") for i in range(3)], source="synthetic")
    write_audit(tmp_path / "out", audit(clean), clean)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "SYNTHETIC" in page
    assert page.count("None found.") == 2
    assert not (tmp_path / "out" / "bad.csv").exists()
    assert sorted(p.name for p in (tmp_path / "out" / "figures").iterdir()) == [
        "counts.png",
        "pixels.png",
        "unusual.png",
    ]


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "fer2013").is_dir(), reason=f"needs {REAL / 'fer2013'}")
@pytest.mark.slow
def test_fer2013_duplicates_and_conflicts_are_found():
    from fer_hierarchy.hierarchy.data.sources import read_source

    manifest = read_source(REAL / "fer2013", dataset=None)
    images = load_images(manifest, size=48, channels=1, skip_bad=False)
    if images.fingerprint != FER2013_FINGERPRINT:
        pytest.skip(f"the counts are those of the faces {FER2013_FINGERPRINT}; these are {images.fingerprint}")
    found = audit(images)
    # Counted independently: equal OpenCV-decoded bytes, grouped in a dictionary.
    expected = {"groups": 1282, "images": 2832, "across_splits": 269, "conflicting": 50}
    assert {key: found["exact"][key] for key in expected} == expected
    assert found["blank"]["images"] == 13
    assert found["pixels"]["known"] == ["this is FER-2013 as published but for the missing PrivateTest"]


def test_depth_is_counted_source_by_source(tmp_path):
    paired = tmp_path / "CalD3rMenD3s" / "CalD3r"
    rng = np.random.default_rng(0)
    for number, emotion in enumerate(("Anger", "Happiness", "Sadness")):
        for kind in ("RGB", "DEPTH"):
            (paired / emotion / kind).mkdir(parents=True)
        name = f"F_{number + 1:03d}_1000_{emotion.lower()}"
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
            paired / emotion / "RGB" / f"{name}_Color.png"
        )
        depth = np.zeros((40, 40), np.uint16)
        depth[5:35, 5:35] = 4000  # half a metre
        if emotion == "Happiness":
            depth = depth.astype(np.uint8)
        if emotion != "Sadness":
            Image.fromarray(depth).save(paired / emotion / "DEPTH" / f"{name}_Depth.png")
    folder = audit_data(
        DataConfig(data=str(paired.parent)), name="depth", results=tmp_path / "results", command="audit"
    )
    (found,) = json.loads((folder / "audit.json").read_text())["depth"]
    assert (found["source"], found["kind"], found["mm_per_unit"]) == ("cald3rmend3s", "metric", 0.125)
    assert (found["images"], found["without"], len(found["bad"])) == (1, 1, 1)
    assert "8-bit depth" in found["bad"][0]["reason"]
    assert "## Depth" in (folder / "report.md").read_text()


def equalised_fer_folder(root):
    """Kaggle's folder layout with 30 equalised faces of two emotions in each split."""
    for prefix, split in (("Training", "train"), ("PublicTest", "test")):
        for emotion in ("happy", "sad"):
            folder = root / split / emotion
            folder.mkdir(parents=True)
            for number in range(30):
                seed = number + 30 * (emotion == "sad") + 60 * (split == "test")
                Image.fromarray(cv2.equalizeHist(face(seed))).save(folder / f"{prefix}_{seed}.png")
    return root


@pytest.mark.slow
def test_an_altered_copy_is_noted_by_audit_training_evaluation_and_compare(tmp_path, program):
    data, other = (equalised_fer_folder(tmp_path / name) for name in ("fer2013", "other"))
    changed = other / "test" / "happy" / "PublicTest_60.png"
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    results = ("--results", tmp_path / "results", "--logs", tmp_path / "logs")
    train = ("--mode", "flat", *QUICK, "--epochs", "1", *results)
    (audited, strict, trained, refused, _, evaluated, compared) = program(
        ("--mode", "audit", "--data", data, "--name", "audit", *results[:2]),
        ("--mode", "audit", "--data", data, "--name", "strict", "--strict-data", *results[:2]),
        (*train, "--name", "first", "--data", data),
        (*train, "--name", "never", "--data", data, "--strict-data"),
        (*train, "--name", "second", "--data", other),
        ("--mode", "evaluate", tmp_path / "results" / "first", "--data", data, "--name", "again", *results),
        (
            "--mode",
            "compare",
            tmp_path / "results" / "first",
            tmp_path / "results" / "second",
            "--name",
            "both",
            *results[:2],
        ),
    )
    noted = "this is not FER-2013 as published: 60 of 60 Training pictures look histogram-equalised"
    assert audited[0] == 0
    assert noted in audited[1]
    assert strict[0] == refused[0] == 2
    assert noted in refused[1]
    assert not (tmp_path / "results" / "never").exists()
    for code, text in (trained, evaluated, compared):
        assert code == 0, text
        assert noted in text
    assert "1 of 60 test faces have other pixels in second than in first" in compared[1]
    for name in ("audit", "strict", "first", "again", "both"):
        assert noted.removeprefix("this") in (tmp_path / "results" / name / "report.md").read_text(), name
    assert json.loads((tmp_path / "results" / "first" / "metrics.json").read_text())["data"]["pixels"]["altered"]
