"""Generated faces in a run: train rows and nothing else, and none that knows a judging face."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.data.sources.generated import seen_fingerprint
from fer_hierarchy.hierarchy.errors import UserError

COUNTS = {"train": 8, "validation": 4, "test": 4}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Official splits of class folders of three emotions, 20 px."""
    root = tmp_path_factory.mktemp("real")
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for emotion in ("happy", "sad", "disgust"):
            paint(root / split / emotion, count, rng, side=20)
    return root


def paint(folder, count, rng, *, side):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{i}.png")


def make(root, seen, *, emotion="disgust", count=5, seed=1):
    """A folder as pt_files.gan writes it: faces of another size than the run's, made from the hashes `seen`."""
    paint(root / emotion, count, np.random.default_rng(seed), side=32)
    pd.DataFrame({"row": "x", "pixel_hash": list(seen)}).to_csv(root / "seen.csv", index=False)
    facts = {"format": 1, "emotion": emotion, "seen": {"fingerprint": seen_fingerprint(seen)}}
    (root / "generated.json").write_text(json.dumps(facts))
    return root


def read(root, **data):
    return read_faces(RunConfig(data=DataConfig(data=str(root), image_size=20, **data)))


@pytest.fixture(scope="module")
def plain(real):
    return read(real)


def hashes(faces, split):
    rows = faces.split(split)
    return rows.loc[rows["emotion"] == "disgust", "pixel_hash"].tolist()


@pytest.fixture
def made(tmp_path, plain):
    return make(tmp_path / "made", hashes(plain, "train"))


def test_generated_faces_join_the_train_split_and_no_other(real, made, plain, caplog):
    faces = read(real, generated=str(made))
    rows = faces.manifest[faces.manifest["source"] == "generated"]
    assert len(rows) == 5
    assert set(rows["split"]) == {"train"}
    assert set(rows["emotion"]) == {"disgust"}
    for split in ("validation", "test"):
        assert faces.split(split)["id"].tolist() == plain.split(split)["id"].tolist()
    assert "5 generated faces of disgust joined 8 real ones in train" in caplog.text


def test_generated_faces_are_seen_by_a_stage_at_the_size_of_the_run(real, made):
    faces = read(real, generated=str(made), channels=3)
    view = faces.stage_view("flat", "train")
    assert view.pixels.shape[1:] == (20, 20, 3)
    assert len(view.rows) == 3 * 8 + 5
    rows = faces.manifest.loc[view.rows]
    classes = faces.taxonomy.stage_classes("flat")
    assert [classes[label] for label in view.labels] == rows["emotion"].tolist()
    row = rows.index[rows["id"] == "generated/disgust/3.png"][0]
    shrunk = Image.open(made / "disgust" / "3.png").resize((20, 20), Image.Resampling.BOX)
    assert np.corrcoef(view.pixels[row, :, :, 0].ravel(), np.asarray(shrunk).ravel())[0, 1] > 0.5


def test_real_faces_keep_their_own_pixels_beside_generated_ones(real, made, plain):
    faces = read(real, generated=str(made))
    for split in ("train", "validation", "test"):
        ids = plain.split(split)["id"].tolist()
        np.testing.assert_array_equal(faces.pixels_of(ids), plain.pixels_of(ids))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_faces_made_from_judging_faces_are_refused(real, plain, tmp_path, split):
    made = make(tmp_path / "made", [*hashes(plain, "train"), *hashes(plain, split)[:2]])
    with pytest.raises(UserError, match="made from 2 faces of this run's validation or test split") as error:
        read(real, generated=str(made))
    assert "\n" not in str(error.value)


def test_a_judging_face_that_was_put_among_the_generated_is_refused(real, made):
    (made / "disgust" / "extra.png").write_bytes((real / "test" / "disgust" / "0.png").read_bytes())
    with pytest.raises(UserError, match="1 faces of this run's validation or test split"):
        read(real, generated=str(made))


def test_faces_of_an_emotion_that_the_run_leaves_out_stay_out(real, made, caplog):
    faces = read(real, generated=str(made), emotions=("happy", "sad"))
    assert not (faces.manifest["source"] == "generated").any()
    assert faces.taxonomy.emotions == ("happy", "sad")
    assert "5 generated faces of disgust were left out" in caplog.text


def test_a_limit_takes_its_share_of_generated_faces(real, plain, tmp_path):
    made = make(tmp_path / "made", hashes(plain, "train"), count=24)
    limited, alone = read(real, limit=12, generated=str(made)), read(real, limit=12)
    assert (limited.manifest["source"] == "generated").sum() == 12  # half of them, as of the 24 real train faces
    for split in ("validation", "test"):
        assert limited.split(split)["id"].tolist() == alone.split(split)["id"].tolist()


def test_several_folders_in_one_join_together(real, plain, tmp_path):
    make(tmp_path / "both" / "one", hashes(plain, "train"))
    make(tmp_path / "both" / "two", hashes(plain, "train"), emotion="sad", count=3, seed=2)
    rows = read(real, generated=str(tmp_path / "both")).manifest
    assert rows.loc[rows["source"] == "generated", "emotion"].value_counts().to_dict() == {"disgust": 5, "sad": 3}


def test_a_folder_without_a_record_is_one_clear_line(real, tmp_path):
    with pytest.raises(UserError, match=r"--generated .*: no generated\.json there") as error:
        read(real, generated=str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", [None, "generated", "folder"])
def test_generated_faces_alone_are_no_data(made, dataset):
    for place in (made, made.parent):
        with pytest.raises(UserError, match="on which nothing can be evaluated") as error:
            read(place, dataset=dataset)
        assert "\n" not in str(error.value)
        assert f"--generated {made}" in str(error.value)


def test_a_generated_face_has_every_vote_for_its_emotion(made):
    from fer_hierarchy.hierarchy.data.manifest import make_manifest
    from fer_hierarchy.hierarchy.data.train_only import append_generated

    soft = pd.DataFrame({"soft_happy": [0.7], "soft_disgust": [0.3]})
    voted = make_manifest(ids=["a"], paths="/a.csv", emotions=["happy"], source="fer2013", soft=soft)
    joined = append_generated(voted, made)
    assert joined["soft_disgust"].tolist() == pytest.approx([0.3, 1, 1, 1, 1, 1])
    assert joined["soft_happy"].tolist() == pytest.approx([0.7, 0, 0, 0, 0, 0])
    assert joined["soft_happy"].dtype == np.float32
