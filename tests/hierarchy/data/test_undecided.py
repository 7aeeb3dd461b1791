"""Faces that people did not agree on: in train alone, with vote shares as targets; no other row moves for them."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.data.faces import read_faces, read_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import SPLITS
from fer_hierarchy.hierarchy.runs.run import check_same_faces, split_table
from fer_hierarchy.hierarchy.taxonomy import FLAT, TRUNK
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.pipeline import settle_before_data, with_epochs
from fer_hierarchy.hierarchy.training.stages import train_stages
from tests.conftest import TINY, draw_face

VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
CHOICES = (4, 5, 6, 1, 3, 2, 0)  # the column of each emotion, in FER-2013's order
HALF = ("5,0,0,5,0,0,0,0,0,0", "0,5,5,0,0,0,0,0,0,0")  # neutral or sad, happy or surprised
UNDECIDED = 20


def write_split(folder, first, votes, rng):
    """Pictures with these votes, numbered from `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, cast in enumerate(votes, first):
        face = draw_face(int(np.argmax([int(count) for count in cast.split(",")])) % 7, rng)
        add(folder, number, face, cast)


def add(folder, number, face, cast):
    Image.fromarray(face).save(folder / f"fer{number:07d}.png")
    with (folder / "label.csv").open("a") as table:
        table.write(f'fer{number:07d}.png,"(0, 0, 48, 48)",{cast}\n')


def clear(choice):
    """Seven votes for a choice and three for the one after it."""
    counts = [0] * len(VOTES)
    counts[choice], counts[(choice + 1) % 7] = 7, 3
    return ",".join(map(str, counts))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """FER+'s folders, 12 train and 4 validation faces of each of seven emotions, and 20 undecided ones in both."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    undecided = [HALF[number % 2] for number in range(UNDECIDED)]
    write_split(root / "FER2013Train", 0, [clear(choice) for choice in CHOICES for _ in range(12)] + undecided, rng)
    write_split(root / "FER2013Valid", 500, [clear(choice) for choice in CHOICES for _ in range(4)] + undecided, rng)
    return root


def config(root, *, soft=True, stages=None, mode="flat", trunk="separate", **data):
    return RunConfig(
        mode=mode,
        trunk=trunk,
        data=DataConfig(data=str(root), image_size=16, channels=1, **data),
        stage=StageConfig(soft_labels=soft, model=TINY, epochs=1, batch_size=16, label_smoothing=0.0),
        stages=stages or {},
    )


def ids(faces, split):
    return sorted(faces.split(split)["id"])


def undecided_of(faces):
    return faces.manifest[faces.manifest["undecided"]]


def test_an_emotion_without_a_majority_in_a_split_is_an_error(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "faces")
    table = root / "FER2013Valid" / "label.csv"
    table.write_text(table.read_text().replace(clear(CHOICES[1]), "0,5,0,0,0,5,0,0,0,0"))
    table.write_text(table.read_text().replace(clear(CHOICES[3]), "0,5,0,0,0,5,0,0,0,0"))
    for soft in (False, True):
        with pytest.raises(UserError, match=r"the majority of FER\+'s votes leaves no face of happy in validation"):
            read_faces(config(root, soft=soft))
    assert "happy" not in read_faces(config(root, exclude=["disgust", "happy"])).taxonomy.emotions


@pytest.mark.parametrize("data", [{}, {"drop_duplicates": True}, {"limit": 28}, {"folds": 4, "fold": 2}])
def test_they_join_train_and_move_no_other_face(folder, data):
    hard, soft = (read_faces(config(folder, soft=on, **data)) for on in (False, True))
    for split in ("validation", "test"):
        assert ids(soft, split) == ids(hard, split)
    joined = undecided_of(soft)
    assert set(joined["split"]) == {"train"}
    assert sorted(set(ids(soft, "train")) - set(ids(hard, "train"))) == sorted(joined["id"])
    train = len(hard.split("train")) / 74  # of 74 train faces without a limit, the rest being validation
    assert len(joined) == (UNDECIDED if "limit" not in data else np.ceil(UNDECIDED * train))
    assert joined["id"].max() < "fer0000500"  # those of the official validation split are used nowhere
    assert set(joined["emotion"]) == {"neutral", "happy"}  # the first of equal shares


def test_none_is_a_copy_of_a_face_that_chooses_or_evaluates(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "copies")
    first = read_faces(config(root))
    taken = [first.split(split)["path"].iloc[0] for split in ("validation", "test", "train")]
    for number, path in enumerate(taken, 200):
        add(root / "FER2013Train", number, np.asarray(Image.open(path)), HALF[0])
    faces = read_faces(config(root))
    assert ids(faces, "validation") == ids(first, "validation")
    assert len(undecided_of(faces)) == UNDECIDED + 1
    assert "fer0000202" in set(undecided_of(faces)["id"])


def test_only_train_of_stages_trained_on_votes_shows_them(folder):
    own = config(folder, soft=False, mode="hierarchical", stages={"positive": {"soft_labels": True}})
    faces = read_faces(own)
    for split in ("train", "validation", "test"):
        assert not faces.manifest.loc[faces.stage_view("valence", split).rows, "undecided"].any()
    assert faces.manifest.loc[faces.stage_view("positive", "train", soft_labels=True).rows, "undecided"].any()
    assert "undecided" in read_manifest(own.data)
    assert not read_manifest(own.data)["undecided"].any()  # what an audit or an evaluation sees


def test_a_run_finds_the_same_faces_again(folder, tmp_path):
    split_table(read_faces(config(folder))).to_csv(tmp_path / SPLITS, index=False)
    check_same_faces(tmp_path, read_faces(config(folder)))
    with pytest.raises(UserError, match="the data has changed"):
        check_same_faces(tmp_path, read_faces(config(folder, soft=False)))


def test_soft_labels_need_votes(folder, tmp_path):
    for emotion in ("happy", "sad"):
        write_split(tmp_path / "train" / emotion, 0, [clear(0)] * 4, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"--soft-labels trains on FER\+ votes, which this data lacks; give --ferplus"):
        read_faces(config(tmp_path))


def test_faces_without_votes_beside_faces_with_votes_have_one_hot_targets(folder, tmp_path):
    rng = np.random.default_rng(1)
    for emotion in ("happy", "sad"):
        (tmp_path / "train" / emotion).mkdir(parents=True)
        for number in range(30):
            Image.fromarray(draw_face(3, rng)).save(tmp_path / "train" / emotion / f"{number}.png")
    merged = config(folder)
    faces = read_faces(dataclasses.replace(merged, data=DataConfig(data=[str(folder), str(tmp_path)], image_size=16)))
    view = faces.stage_view(FLAT, "train", soft_labels=True)
    plain = (faces.manifest.loc[view.rows, "source"] == "folder").to_numpy()
    np.testing.assert_array_equal(view.targets[plain].max(axis=1), 1)
    assert (view.targets[~plain].max(axis=1) < 1).any()
    assert len(undecided_of(faces)) == UNDECIDED


class Recording(KerasStage):
    """Notes what each stage is trained on."""

    trained_on: dict = {}  # noqa: RUF012 - emptied by each test

    def fit(self, train, *others, **settings):
        self.trained_on[self.name] = train
        super().fit(train, *others, **settings)


def expected(faces, members):
    """Shares of the train faces whose emotion is one of `members`, renormalised within them."""
    train = faces.split("train")
    train = train[train["emotion"].isin(members)]
    shares = train[[f"soft_{emotion}" for emotion in members]].to_numpy()
    return train.index, shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("way", ["flat", "shared", pytest.param("separate", marks=pytest.mark.slow)])
def test_stages_are_trained_on_vote_shares_in_every_way(folder, tmp_path, way):
    mode, trunk = ("flat", "separate") if way == "flat" else ("hierarchical", way)
    settled = settle_before_data(config(folder, mode=mode, trunk=trunk), KerasStage)
    faces = read_faces(settled)
    Recording.trained_on.clear()
    train_stages(tmp_path, with_epochs(settled, faces), Recording, faces, tmp_path / "logs")
    emotions, groups = faces.taxonomy.emotions, dict(faces.taxonomy.groups)
    if way == "separate":
        assert set(Recording.trained_on) == {"valence", *groups}
        for group, members in groups.items():
            check_targets(Recording.trained_on[group], expected(faces, members))
        rows, shares = expected(faces, emotions)
        sums = [shares[:, [emotions.index(member) for member in members]].sum(axis=1) for members in groups.values()]
        check_targets(Recording.trained_on["valence"], (rows, np.stack(sums, axis=1)))
    else:
        (seen,) = Recording.trained_on.values()
        assert set(Recording.trained_on) == {FLAT if way == "flat" else TRUNK}
        check_targets(seen, expected(faces, emotions))


def check_targets(seen, wanted):
    rows, shares = wanted
    pd.testing.assert_index_equal(pd.Index(seen.rows), pd.Index(rows))
    np.testing.assert_allclose(seen.targets, shares, atol=1e-6)
    assert (seen.targets.max(axis=1) < 1).any()
