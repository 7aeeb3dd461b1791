"""From a path to labelled, split faces: exclusions, stage labels, vote shares, and what happens without any path."""

import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.data import faces as faces_module
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces, refuse_emptied, resolve_data
from fer_hierarchy.hierarchy.data.images import ImageSet
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.data.sampling import draw_rows
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import EMOTIONS, TAXONOMIES
from tests.conftest import write_fer_folder

SEVEN = tuple(e for e in EMOTIONS if e != "contempt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Official splits of class folders: 8 train, 3 validation and 4 test faces of each of seven emotions."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 3), ("test", 4)):
        for emotion in SEVEN:
            place = root / split / emotion
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(place / f"{i}.png")
    return root


def config(folder, **data):
    return RunConfig(data=DataConfig(data=str(folder), image_size=20, **data))


@pytest.fixture(scope="module")
def seven(folder):
    return read_faces(config(folder))


def voted(shares, emotions, *, taxonomy=None, split="train"):
    """Faces with vote shares: one dict emotion -> share a face."""
    soft = pd.DataFrame([{f"soft_{e}": row.get(e, 0.0) for e in EMOTIONS} for row in shares])
    ids = [f"fer{i:07d}" for i in range(len(emotions))]
    manifest = make_manifest(ids=ids, paths="/x.csv", emotions=emotions, source="fer2013", splits=split, soft=soft)
    images = ImageSet(
        np.zeros((len(ids), 4, 4, 1), np.uint8), manifest, manifest.head(0), "", np.zeros((len(ids), 12), np.float32)
    )
    return Faces(images=images, manifest=manifest, taxonomy=taxonomy or TAXONOMIES["valence"])


def test_every_face_arrives_with_its_own_pixels_label_and_split(seven, folder):
    assert len(seven.manifest) == 7 * 15
    for index, row in seven.manifest.iterrows():
        stored = np.asarray(Image.open(folder / row["id"]))
        np.testing.assert_array_equal(seven.images.pixels[index, :, :, 0], stored)
        split, emotion, _ = row["id"].split("/")
        assert (row["split"], row["emotion"]) == (split, emotion)
    assert not seven.synthetic


@pytest.mark.parametrize("stage", ["valence", "positive", "negative", "flat"])
def test_a_stage_sees_the_faces_it_knows_with_its_own_labels(seven, stage):
    classes = seven.taxonomy.stage_classes(stage)
    for split in ("train", "validation", "test"):
        view = seven.stage_view(stage, split)
        rows = seven.manifest.loc[view.rows]
        assert (rows["split"] == split).all()
        names = [seven.taxonomy.group_of(e) if stage == "valence" else e for e in rows["emotion"]]
        assert [classes[label] for label in view.labels] == names
        known = seven.split(split)
        assert len(rows) == (known["emotion"].isin(classes).sum() if stage in ("positive", "negative") else len(known))
        assert view.targets.dtype == np.float32
        np.testing.assert_array_equal(view.targets, np.eye(len(classes))[view.labels])


def test_oversampled_rows_are_train_rows_with_their_own_labels(folder):
    faces = read_faces(config(folder, exclude=("angry",)))
    view = faces.stage_view("valence", "train")
    lopsided = np.flatnonzero((view.labels == 0) | (np.arange(len(view.labels)) % 3 == 0))
    rows, labels, targets = view.rows[lopsided], view.labels[lopsided], view.targets[lopsided]
    drawn = draw_rows(labels, "oversample", seed=0)
    assert len(drawn) > len(rows)
    repeated = faces.manifest.loc[rows[drawn]]
    assert (repeated["split"] == "train").all()
    groups = [faces.taxonomy.group_names.index(faces.taxonomy.group_of(e)) for e in repeated["emotion"]]
    np.testing.assert_array_equal(targets[drawn].argmax(axis=1), groups)


def test_an_excluded_emotion_is_absent_everywhere(folder):
    faces = read_faces(config(folder, exclude=("disgust", "neutral")))
    assert not faces.manifest["emotion"].isin(["disgust", "neutral"]).any()
    assert not faces.images.manifest["emotion"].isin(["disgust", "neutral"]).any()
    assert faces.taxonomy.emotions == ("angry", "fear", "happy", "sad", "surprise")
    assert faces.taxonomy.members("negative") == ("angry", "fear", "sad")
    assert faces.stage_view("flat", "test").targets.shape == (5 * 4, 5)
    assert faces.stage_view("positive", "train").targets.shape == (2 * 8, 2)


def test_the_taxonomy_holds_only_emotions_of_the_data(tmp_path, caplog):
    rng = np.random.default_rng(1)
    for emotion in ("happy", "surprise", "sad"):
        (tmp_path / emotion).mkdir()
        for i in range(30):
            Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / emotion / f"{i}.png")
    faces = read_faces(config(tmp_path))
    assert faces.taxonomy.emotions == ("happy", "sad", "surprise")
    assert faces.taxonomy.specialists == ("positive",)
    assert "The data holds no angry, disgust, fear, neutral" in caplog.text
    assert set(faces.manifest["split"]) == {"train", "validation", "test"}


def test_data_of_one_group_only_is_refused(tmp_path):
    (tmp_path / "happy").mkdir()
    Image.new("L", (20, 20), 7).save(tmp_path / "happy" / "a.png")
    with pytest.raises(UserError, match="group 'negative'"):
        read_faces(config(tmp_path))


def test_an_emotion_of_which_every_image_is_bad_is_an_error(tmp_path):
    rng = np.random.default_rng(2)
    for emotion in ("happy", "sad", "fear"):
        (tmp_path / emotion).mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(tmp_path / emotion / f"{i}.png")
    (tmp_path / "neutral").mkdir()
    (tmp_path / "neutral" / "broken.png").write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"--skip-bad leaves no face of neutral in the data \(all 1 of \S+neutral\); .*--exclude"
    ):
        read_faces(config(tmp_path, skip_bad=True))
    faces = read_faces(config(tmp_path, skip_bad=True, exclude=["neutral"]))
    assert faces.taxonomy.emotions == ("fear", "happy", "sad")


def test_an_emotion_that_a_filter_takes_from_one_split_alone_is_an_error(tmp_path):
    write_fer_folder(tmp_path, per_split={"Training": 3, "PublicTest": 2, "PrivateTest": 2})
    for file in (tmp_path / "test" / "disgust").glob("PrivateTest*"):
        file.write_bytes(b"no image")
    where = r"disgust in test \(all 2 of \S+test/disgust\); .*--exclude"
    with pytest.raises(UserError, match=f"--skip-bad leaves no face of {where}"):
        read_faces(config(tmp_path, skip_bad=True))
    assert "disgust" not in read_faces(config(tmp_path, skip_bad=True, exclude=["disgust"])).taxonomy.emotions


def test_an_emotion_that_is_left_out_may_lose_all_its_faces(tmp_path):
    manifest = pd.DataFrame(
        {"split": "test", "emotion": ["sad", "fear"], "path": str(tmp_path / "a.csv"), "row": [0, 1]}
    )
    refuse_emptied(manifest, manifest[:1], "--min-intensity 3", left_out=["fear"])
    with pytest.raises(UserError, match=r"leaves no face of fear in test \(all 1 of \S+a.csv\)"):
        refuse_emptied(manifest, manifest[:1], "--min-intensity 3")


def test_a_limit_takes_its_test_rows_from_the_same_test_split(seven, folder):
    quick = read_faces(config(folder, limit=14))
    assert quick.manifest["split"].value_counts().to_dict() == {"train": 14, "validation": 14, "test": 14}
    assert set(quick.split("test")["id"]) <= set(seven.split("test")["id"])
    assert set(quick.split("train")["id"]) <= set(seven.split("train")["id"])
    view = quick.stage_view("flat", "train")
    assert (quick.images.manifest.loc[view.rows, "id"].to_numpy() == quick.split("train")["id"].to_numpy()).all()


def test_dropped_duplicates_are_in_no_stage(folder, tmp_path):
    for path in folder.rglob("*.png"):
        copy = tmp_path / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "train" / "sad" / "again.png").write_bytes((folder / "test" / "happy" / "0.png").read_bytes())
    counts = [
        [
            len(read_faces(config(tmp_path, drop_duplicates=drop)).stage_view("flat", split).rows)
            for drop in (False, True)
        ]
        for split in ("train", "test")
    ]
    assert counts == [[57, 56], [28, 28]]


def test_pixels_by_id_come_in_the_requested_order(seven):
    ids = ["test/sad/2.png", "train/happy/0.png", "test/sad/2.png"]
    rows = [seven.manifest.index[seven.manifest["id"] == i][0] for i in ids]
    np.testing.assert_array_equal(seven.pixels_of(ids), seven.images.pixels[rows])


def test_votes_are_summed_for_the_gate():
    faces = voted([{"happy": 0.5, "surprise": 0.2, "fear": 0.3}, {"sad": 0.6, "neutral": 0.4}], ["happy", "sad"])
    view = faces.stage_view("valence", "train", soft_labels=True)
    np.testing.assert_allclose(view.targets, [[0.7, 0.3], [0.4, 0.6]], atol=1e-6)
    assert view.targets.dtype == np.float32


def test_votes_are_renormalised_for_a_specialist():
    faces = voted([{"happy": 0.5, "surprise": 0.2, "fear": 0.3}, {"sad": 0.6, "neutral": 0.4}], ["happy", "sad"])
    view = faces.stage_view("positive", "train", soft_labels=True)
    assert view.rows.tolist() == [0]
    np.testing.assert_allclose(view.targets, [[5 / 7, 2 / 7, 0]], atol=1e-6)


def test_votes_for_an_excluded_emotion_go_to_the_others():
    faces = voted([{"happy": 0.6, "contempt": 0.4}], ["happy"], taxonomy=TAXONOMIES["valence"].exclude(["contempt"]))
    flat = faces.stage_view("flat", "train", soft_labels=True)
    assert dict(zip(faces.taxonomy.emotions, flat.targets[0].tolist(), strict=True))["happy"] == pytest.approx(1)
    np.testing.assert_allclose(faces.stage_view("valence", "train", soft_labels=True).targets, [[1, 0]], atol=1e-6)


def test_a_face_without_a_vote_for_the_stage_keeps_its_label():
    faces = voted([{"contempt": 1.0}], ["happy"], taxonomy=TAXONOMIES["valence"].exclude(["contempt"]))
    np.testing.assert_array_equal(faces.stage_view("positive", "train", soft_labels=True).targets, [[1, 0, 0]])


def test_every_row_of_soft_targets_sums_to_one():
    rng = np.random.default_rng(0)
    shares = [dict(zip(EMOTIONS, row, strict=True)) for row in rng.dirichlet(np.ones(8), 30)]
    faces = voted(shares, [max(row, key=row.get) for row in shares])
    for stage in faces.taxonomy.stages("hierarchical"):
        view = faces.stage_view(stage, "train", soft_labels=True)
        np.testing.assert_allclose(view.targets.sum(axis=1), 1, atol=1e-6)


def test_without_data_the_faces_are_synthetic_and_it_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(faces_module, "DEFAULT_DATA", tmp_path / "absent")
    assert resolve_data(DataConfig()).dataset == "synthetic"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "synthetic faces" in record.getMessage()


def test_without_data_the_default_folder_is_taken_where_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(faces_module, "DEFAULT_DATA", tmp_path)
    assert resolve_data(DataConfig()).data == str(tmp_path)
    assert resolve_data(DataConfig(dataset="synthetic")).data is None
    assert not caplog.records


@pytest.mark.parametrize("dataset", ["ck48", "fer2013"])
def test_a_named_data_set_is_never_replaced_by_synthetic_faces(tmp_path, monkeypatch, dataset):
    monkeypatch.setattr(faces_module, "DEFAULT_DATA", tmp_path / "absent")
    data = resolve_data(DataConfig(dataset=dataset))
    assert data.dataset == dataset
    with pytest.raises(UserError, match="--data PATH"):
        read_faces(RunConfig(data=data, stage=StageConfig()))


def test_a_split_by_sample_is_requested_in_the_settings(tmp_path, caplog):
    """Two people only: by subject there is nothing to cut, by sample there is."""
    rng = np.random.default_rng(3)
    for sequence, emotion in enumerate(("happy", "fear", "sadness"), start=1):
        place = tmp_path / emotion
        place.mkdir()
        for person in ("S010", "S011"):
            for i in range(15):
                name = f"{person}_{sequence:03d}_{i:08d}.png"
                Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8)).save(place / name)
    with pytest.raises(UserError, match="too few"):
        read_faces(config(tmp_path))
    faces = read_faces(config(tmp_path, split_by="sample"))
    assert set(faces.manifest["source"]) == {"ck48"}
    count = len(faces.split("test"))
    assert f"{count} of {count} test faces show a person of the train split" in caplog.text
