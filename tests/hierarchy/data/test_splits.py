"""Splits, duplicates across them, and quick checks, on manifests without any pixels."""

import logging

import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data import splits
from fer_hierarchy.hierarchy.data.splits import (
    calibrates,
    drop_duplicates,
    fold_numbers,
    limit_rows,
    note_shared_subjects,
)
from fer_hierarchy.hierarchy.errors import UserError

FRACTIONS = {"validation_fraction": 0.1, "test_fraction": 0.2}


def assign(faces, *, seed, by="subject", **cuts):
    """The faces with their splits."""
    return splits.assign(faces, DataConfig(split_by=by, **cuts), seed=seed)


def manifest(emotions, *, split="", subject="", pixel_hash=None):
    """A manifest as `load_images` leaves it; every face has pixels of its own unless `pixel_hash` says otherwise."""
    ids = [f"face{i:04d}" for i in range(len(emotions))]
    columns = {
        "id": ids,
        "emotion": emotions,
        "split": split,
        "source": "folder",
        "subject": subject,
        "pixel_hash": ids if pixel_hash is None else pixel_hash,
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(ids))).astype("str")


def classes(**counts):
    return [emotion for emotion, count in counts.items() for _ in range(count)]


def by_subject(people=20, emotions=("happy", "sad", "fear"), frames=3):
    """Every person shows every emotion in several frames."""
    rows = [(e, f"S{p:03d}") for p in range(people) for e in emotions for _ in range(frames)]
    return manifest([e for e, _ in rows], subject=[s for _, s in rows])


def sides(faces, column):
    """For each value of `column`, the splits in which it stands."""
    return faces.groupby(column)["split"].agg(set)


def sizes(faces):
    return faces["split"].value_counts().to_dict()


def one_line(error):
    return "\n" not in str(error.value)


def test_official_splits_are_left_alone():
    faces = manifest(classes(happy=9, sad=9), split=["train", "train", "train", "validation", "test", "test"] * 3)
    assert assign(faces, seed=0, **FRACTIONS)["split"].tolist() == faces["split"].tolist()


def test_the_given_manifest_is_not_changed():
    faces = manifest(classes(happy=50, sad=50))
    assign(faces, seed=0, **FRACTIONS)
    assert set(faces["split"]) == {""}


def test_without_an_official_test_split_validation_evaluates_and_train_chooses(caplog):
    faces = manifest(classes(happy=60, sad=60), split=(["train"] * 5 + ["validation"]) * 20)
    done = assign(faces, seed=0, **FRACTIONS)
    assert (done.loc[faces["split"] == "validation", "split"] == "test").all()
    assert (done.loc[faces["split"] == "train", "split"] != "test").all()
    assert sizes(done) == {"train": 90, "test": 20, "validation": 10}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("No official test split" in w and "20 validation rows are the test split" in w for w in warnings)
    assert any("Validation split: 10 rows cut from train" in w for w in warnings)


def test_a_missing_validation_split_is_cut_from_train_only():
    faces = manifest(classes(happy=60, sad=60), split=["train", "train", "test"] * 40)
    done = assign(faces, seed=0, **FRACTIONS)
    assert ((done["split"] == "test") == (faces["split"] == "test")).all()
    assert sizes(done) == {"train": 72, "test": 40, "validation": 8}


def test_rows_without_a_split_beside_official_ones_train():
    faces = manifest(classes(happy=60, sad=60), split=["", "train", "test"] * 40)
    done = assign(faces, seed=0, **FRACTIONS)
    assert set(done.loc[faces["split"] == "", "split"]) == {"train", "validation"}


def test_data_without_train_rows_is_refused():
    with pytest.raises(UserError, match="no train rows, only test") as error:
        assign(manifest(classes(happy=5, sad=5), split="test"), seed=0, **FRACTIONS)
    assert one_line(error)


def test_cuts_keep_the_proportions_of_classes_and_their_fractions():
    done = assign(manifest(classes(happy=300, sad=100)), seed=0, **FRACTIONS)
    assert sizes(done) == {"train": 288, "test": 80, "validation": 32}
    for _, rows in done.groupby("split"):
        assert (rows["emotion"] == "happy").mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize("make", [by_subject, lambda: manifest(classes(happy=60, sad=60, fear=60))])
def test_the_seed_decides_the_cut(make):
    first, again, other = (assign(make(), seed=seed, **FRACTIONS)["split"].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(5))
def test_no_subject_stands_in_two_splits(seed):
    done = assign(by_subject(), seed=seed, **FRACTIONS)
    assert (sides(done, "subject").str.len() == 1).all()
    assert set(done["split"]) == {"train", "validation", "test"}
    for _, rows in done.groupby("split"):
        assert set(rows["emotion"]) == {"happy", "sad", "fear"}


def test_the_same_name_in_two_sources_is_two_subjects():
    faces = by_subject(people=10)
    faces["source"] = np.where(faces["subject"] < "S005", "ck48", "folder")
    faces["subject"] = [f"S{int(s[1:]) % 5:03d}" for s in faces["subject"]]
    done = assign(faces, seed=0, **FRACTIONS)
    assert (sides(done, ["source", "subject"]).str.len() == 1).all()
    assert (sides(done, "subject").str.len() > 1).any()


@pytest.mark.parametrize("seed", range(5))
def test_subjects_who_share_a_picture_stay_together(seed):
    faces = by_subject(people=20)
    # The last picture of each even person is also filed under the next one.
    for even in range(0, 20, 2):
        own, other = (faces.index[faces["subject"] == f"S{p:03d}"] for p in (even, even + 1))
        faces.loc[other[-1], "pixel_hash"] = faces.loc[own[-1], "pixel_hash"]
    done = assign(faces, seed=seed, **FRACTIONS)
    assert (sides(done, "pixel_hash").str.len() == 1).all()
    assert (sides(done, "subject").str.len() == 1).all()


def test_a_face_of_nobody_known_goes_with_its_identical_pixels():
    faces = by_subject(people=20)
    faces.loc[faces.index[::3], "subject"] = ""
    faces.loc[faces.index[3::9], "pixel_hash"] = faces["pixel_hash"].iloc[2::9].to_numpy()[: len(faces.index[3::9])]
    done = assign(faces, seed=0, **FRACTIONS)
    assert (sides(done, "pixel_hash").str.len() == 1).all()
    known = done[done["subject"] != ""]
    assert (sides(known, "subject").str.len() == 1).all()


@pytest.mark.parametrize("fraction", [0.1, 0.15, 0.2, 0.3, 0.4, 0.5])
def test_a_cut_by_subject_has_the_requested_size(fraction):
    faces = by_subject(people=60, frames=1)
    faces.loc[faces.index[:6], "split"] = "test"  # the first two people
    done = assign(faces, seed=0, validation_fraction=fraction, test_fraction=0.2)
    share = (done["split"] == "validation").sum() / (done["split"] != "test").sum()
    assert share == pytest.approx(fraction, abs=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_identical_faces_stay_on_one_side_of_a_cut(seed):
    copies = [f"pixels{i // 2}" for i in range(240)]
    done = assign(manifest(["happy", "sad", "sad", "happy"] * 60, pixel_hash=copies), seed=seed, **FRACTIONS)
    assert (sides(done, "pixel_hash").str.len() == 1).all()
    assert set(done["split"]) == {"train", "validation", "test"}


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_stands_in_every_split(seed):
    """A twentieth of four faces rounds to none."""
    faces = manifest(classes(happy=300, sad=290, disgust=4))
    done = assign(faces, seed=seed, validation_fraction=0.05, test_fraction=0.1)
    assert (pd.crosstab(done["emotion"], done["split"]) > 0).all(axis=None)


def test_a_class_with_too_few_faces_is_one_clear_line():
    with pytest.raises(UserError, match=r"'disgust' has 1 different faces .*--exclude disgust") as error:
        assign(manifest(classes(happy=100, sad=100, disgust=1)), seed=0, **FRACTIONS)
    assert one_line(error)


def test_copies_of_one_face_are_not_enough_faces():
    faces = manifest(classes(happy=50, sad=50, disgust=6), pixel_hash=[*map(str, range(100)), *["same"] * 6])
    with pytest.raises(UserError, match="'disgust' has 1 different faces"):
        assign(faces, seed=0, **FRACTIONS)


def test_few_faces_in_all_are_refused():
    with pytest.raises(UserError, match="too few to split"):
        assign(manifest(classes(happy=3, sad=3, fear=3)), seed=0, **FRACTIONS)


def test_an_official_split_without_validation_faces_of_a_class_is_refused():
    faces = manifest(
        classes(happy=9, sad=9), split=["train", "validation", "test"] * 3 + ["train", "train", "test"] * 3
    )
    with pytest.raises(UserError, match=r"'sad' has 6 train and 0 validation rows.*--exclude sad") as error:
        assign(faces, seed=0, **FRACTIONS)
    assert one_line(error)


def test_an_official_test_split_without_a_class_is_said(caplog):
    faces = manifest(
        classes(happy=9, sad=9), split=["train", "validation", "test"] * 3 + ["train", "train", "validation"] * 3
    )
    assign(faces, seed=0, **FRACTIONS)
    assert "Class sad has no test row" in caplog.text


def test_a_cut_by_sample_lets_a_person_stand_on_both_sides_and_warns(caplog):
    done = assign(by_subject(), seed=0, by="sample", **FRACTIONS)
    assert (sides(done, "subject").str.len() > 1).any()
    assert "identical faces kept together, subjects ignored" in caplog.text
    known = set(done.loc[done["split"] == "train", "subject"])
    test = done[done["split"] == "test"]
    shared = test["subject"].isin(known).sum()
    note_shared_subjects(done)
    assert shared > 0
    assert f"{shared} of {len(test)} test faces show a person of the train split: scores are inflated" in caplog.text


@pytest.mark.parametrize("seed", range(3))
def test_identical_faces_stay_together_in_a_cut_by_sample(seed):
    faces = by_subject(people=40)
    faces["pixel_hash"] = [f"pixels{i // 2}" for i in range(len(faces))]
    done = assign(faces, seed=seed, by="sample", **FRACTIONS)
    assert (sides(done, "pixel_hash").str.len() == 1).all()


def test_a_cut_by_sample_needs_no_second_person():
    faces = by_subject(people=1, frames=60)
    assert set(assign(faces, seed=0, by="sample", **FRACTIONS)["split"]) == {"train", "validation", "test"}
    with pytest.raises(UserError, match="too few"):
        assign(faces, seed=0, **FRACTIONS)


def test_official_splits_that_share_people_are_said_too(caplog):
    faces = by_subject(people=4)
    faces["split"] = np.where(faces["subject"] == "S003", "test", "train")
    faces.loc[[27, 28], "subject"] = "S001"
    note_shared_subjects(faces)
    assert "2 of 9 test faces show a person of the train split" in caplog.text


def test_nothing_is_said_of_people_who_stand_in_one_split(caplog):
    faces = by_subject()
    faces.loc[faces.index[:9], "subject"] = ""  # unknown people are nobody in particular
    faces.loc[faces.index[:3], "split"] = "test"
    faces.loc[faces.index[3:], "split"] = "train"
    note_shared_subjects(faces)
    assert not caplog.records


def test_a_class_with_too_few_subjects_is_one_clear_line():
    faces = by_subject(people=20)
    faces.loc[faces["subject"] == "S003", "emotion"] = "disgust"
    with pytest.raises(UserError, match=r"'disgust' has too few subjects \(1\)") as error:
        assign(faces, seed=0, **FRACTIONS)
    assert one_line(error)


def test_too_few_subjects_in_all_is_one_clear_line():
    with pytest.raises(UserError, match=r"1 subject\(s\) are too few to cut 10%") as error:
        assign(by_subject(people=2), seed=0, **FRACTIONS)
    assert one_line(error)


def test_more_folds_than_faces_of_any_class_is_one_clear_line():
    """Twelve people, each on one face: no class has the ten faces that a tenth would need."""
    emotions = classes(happy=4, sad=4, fear=4)
    faces = manifest([*emotions, *classes(happy=3, sad=3, fear=3)], subject=[f"S{i}" for i in range(21)])
    faces.loc[12:, "split"] = "test"
    with pytest.raises(UserError, match="too few subjects") as error:
        assign(faces, seed=0, **FRACTIONS)
    assert one_line(error)


def with_copies(pairs):
    """A manifest of 60 faces in official splits where the second row of each pair has the pixels of the first."""
    faces = manifest(["happy", "sad"] * 30, split=["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    for one, other in pairs:
        faces.loc[other, "pixel_hash"] = faces.loc[one, "pixel_hash"]
    return faces


def test_duplicates_leave_train_and_validation_but_never_test(caplog):
    # train-train, train-validation, train-test, validation-test, test-test, and one face in all three.
    faces = with_copies([(0, 1), (2, 40), (3, 50), (41, 51), (52, 53), (4, 42), (4, 54)])
    kept = drop_duplicates(faces, drop=True)
    assert set(faces.index) - set(kept.index) == {2, 3, 4, 41, 42}
    pd.testing.assert_frame_equal(kept, faces.loc[kept.index])
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.startswith("3 train and 2 validation faces also stand in a later split")
    assert "were dropped" in said


def test_duplicates_are_only_counted_unless_dropped_on_request(caplog):
    faces = with_copies([(2, 40), (3, 50)])
    pd.testing.assert_frame_equal(drop_duplicates(faces, drop=False), faces)
    (said,) = [r.getMessage() for r in caplog.records]
    assert "2 train and 0 validation faces" in said
    assert "--drop-duplicates" in said


def test_nothing_is_said_where_nothing_is_repeated(caplog):
    faces = with_copies([(0, 1), (52, 53)])
    assert len(drop_duplicates(faces, drop=True)) == len(faces)
    assert not caplog.records


def test_dropping_the_last_faces_of_a_class_is_refused():
    """All validation faces of sad stand in test too: nothing would be left to choose on."""
    faces = with_copies([(51, row) for row in range(41, 50, 2)])
    with pytest.raises(UserError, match="'sad' has 20 train and 0 validation rows without duplicates") as error:
        drop_duplicates(faces, drop=True)
    assert one_line(error)
    assert len(drop_duplicates(faces, drop=False)) == len(faces)


@pytest.mark.parametrize("limit", [6, 7, 10, 25, 40])
def test_a_limit_is_kept_exactly_with_every_class_in_it(limit):
    counts = {"happy": 97, "sad": 45, "disgust": 3}
    faces = pd.concat(
        [manifest(classes(**counts), split=s) for s in ("train", "validation", "test")], ignore_index=True
    )
    kept = limit_rows(faces, limit, seed=0)
    assert sizes(kept) == dict.fromkeys(("train", "validation", "test"), limit)
    table = pd.crosstab(kept["split"], kept["emotion"])
    assert (table >= 2).all(axis=None)
    assert (table["happy"] >= table["sad"]).all()
    assert kept.index.is_unique
    pd.testing.assert_frame_equal(kept, faces.loc[kept.index])


def test_a_limit_above_the_size_of_a_split_keeps_all_of_it(caplog):
    faces = manifest(classes(happy=20, sad=30), split=(["train"] * 4 + ["test"]) * 10)
    kept = limit_rows(faces, 20, seed=0)
    assert sizes(kept) == {"train": 20, "test": 10}
    assert set(kept.index[kept["split"] == "test"]) == set(faces.index[faces["split"] == "test"])
    assert "--limit 20" in caplog.text


def test_a_class_of_one_face_stays_in_a_limited_split():
    faces = manifest(classes(happy=50, sad=50, disgust=1), split="test")
    assert sizes(limit_rows(faces, 9, seed=0)) == {"test": 9}
    assert "disgust" in set(limit_rows(faces, 9, seed=0)["emotion"])


def test_the_seed_decides_a_limited_sample():
    faces = manifest(classes(happy=50, sad=50), split="train")
    first, again, other = (limit_rows(faces, 20, seed=seed).index.tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_too_small_a_limit_names_what_is_needed():
    with pytest.raises(UserError, match="--limit 5 is too small for 3 emotions; at least 6") as error:
        limit_rows(manifest(classes(happy=9, sad=9, fear=9), split="train"), 5, seed=0)
    assert one_line(error)


def held_out(faces, folds, **keywords):
    """The row numbers of the test split of each fold."""
    done = [assign(faces, seed=0, folds=folds, fold=fold, **{**FRACTIONS, **keywords}) for fold in range(1, folds + 1)]
    return [rows.index[rows["split"] == "test"].tolist() for rows in done]


@pytest.mark.parametrize("by", ["subject", "sample"])
@pytest.mark.parametrize("folds", [2, 5, 7])
def test_every_row_is_test_in_exactly_one_fold(folds, by):
    faces = by_subject(people=23)
    held = held_out(faces, folds, by=by)
    assert sorted(row for rows in held for row in rows) == faces.index.tolist()
    assert max(map(len, held)) - min(map(len, held)) <= 9, "nobody has more than nine faces"


@pytest.mark.parametrize("seed", range(3))
def test_a_fold_is_a_run_whose_subjects_stand_on_one_side(seed):
    faces = by_subject(people=20)
    faces.loc[9, "pixel_hash"] = faces.loc[0, "pixel_hash"]  # S000 and S001 share a picture
    done = assign(faces, seed=seed, folds=4, fold=3, **FRACTIONS)
    assert (sides(done, "subject").str.len() == 1).all()
    assert (sides(done, "pixel_hash").str.len() == 1).all()
    assert sizes(done)["test"] == pytest.approx(45, abs=9)
    assert sizes(done)["validation"] == pytest.approx(13.5, abs=9)
    assert (pd.crosstab(done["emotion"], done["split"]) > 0).all(axis=None)


def test_the_seed_decides_the_folds():
    first, again, other = (fold_numbers(by_subject(), folds=4, seed=seed).tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_folds_pool_official_splits_and_warn(caplog):
    faces = manifest(classes(happy=60, sad=60), split=["train", "train", "test"] * 40)
    assert sorted(row for rows in held_out(faces, 3) for row in rows) == faces.index.tolist()
    assert "The official splits of folder are not used: scores on folds are not comparable" in caplog.text
    assert "Fold 2 of 3: 40 of 120 rows are the test split (identical faces kept together" in caplog.text


def test_folds_by_sample_divide_people_but_no_identical_faces(caplog):
    faces = by_subject(people=12)
    faces["pixel_hash"] = [f"pixels{i // 2}" for i in range(len(faces))]
    done = assign(faces, seed=0, folds=3, fold=1, by="sample", **FRACTIONS)
    assert (sides(done, "subject").str.len() > 1).any()
    assert (sides(done, "pixel_hash").str.len() == 1).all()
    assert "subjects ignored" in caplog.text


def test_rare_classes_stand_in_every_fold():
    faces = by_subject(people=40, emotions=("happy", "sad"))
    rare = faces["subject"].isin(["S003", "S010", "S017", "S030", "S031"]) & (faces["emotion"] == "sad")
    faces.loc[rare, "emotion"] = "contempt"
    for seed in range(5):
        numbers = fold_numbers(faces, folds=5, seed=seed)
        assert (pd.crosstab(numbers, faces["emotion"]) > 0).all(axis=None)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("subject", "'fear' has 3 subjects, too few for 5 folds; use --folds 3, add faces or use --exclude fear"),
        ("sample", "'fear' has 4 different faces, too few for 5 folds; use --folds 4, add"),
    ],
)
def test_folds_that_cannot_be_made_are_one_clear_line(by, message):
    faces = by_subject(people=12, emotions=("happy", "sad"))
    faces.loc[[0, 1, 6, 12], "emotion"] = "fear"
    with pytest.raises(UserError, match=message) as error:
        assign(faces, seed=0, folds=5, fold=1, by=by, **FRACTIONS)
    assert one_line(error)


def merged(*parts):
    """Several sources as one manifest."""
    faces = pd.concat([part.assign(source=f"set{n}", id=f"{n}" + part["id"]) for n, part in enumerate(parts)])
    faces["pixel_hash"] = faces["id"]
    return faces.reset_index(drop=True)


def test_each_source_keeps_its_official_splits_or_gets_its_share(caplog):
    official = manifest(
        classes(happy=60, sad=60), split=["train", "train", "train", "train", "validation", "test"] * 20
    )
    faces = merged(official, by_subject(people=20, emotions=("happy", "sad")))
    done = assign(faces, seed=0, **FRACTIONS)
    assert done["split"][:120].tolist() == official["split"].tolist()
    own = done[done["source"] == "set1"]
    assert sizes(own) == {"train": 84, "test": 24, "validation": 12}
    assert (sides(own, "subject").str.len() == 1).all()
    assert "set1: Test split: 24 rows cut from train (grouped by subject" in caplog.text


def test_sources_without_splits_are_cut_as_one():
    """A picture that stands in both stays on one side."""
    faces = merged(manifest(classes(happy=60, sad=60)), manifest(classes(happy=60, sad=60)))
    faces.loc[120:, "pixel_hash"] = faces["pixel_hash"].iloc[:120].to_numpy()
    done = assign(faces, seed=0, **FRACTIONS)
    assert (sides(done, "pixel_hash").str.len() == 1).all()


def test_a_source_of_test_faces_alone_evaluates_what_others_train():
    faces = merged(manifest(classes(happy=30, sad=30)), manifest(classes(happy=5, sad=5), split="test"))
    done = assign(faces, seed=0, **FRACTIONS)
    assert set(done.loc[60:, "split"]) == {"test"}
    assert set(done.loc[:59, "split"]) == {"train", "validation", "test"}


def test_a_source_too_small_to_cut_is_named():
    official = manifest(classes(happy=9, sad=9), split=["train", "validation", "test"] * 6)
    faces = merged(official, manifest(classes(happy=30, sad=1)))
    with pytest.raises(UserError, match="set1: class 'sad' has 1 different faces") as error:
        assign(faces, seed=0, **FRACTIONS)
    assert one_line(error)


def test_calibration_apart_takes_half_of_the_faces_with_whole_people_in_any_order():
    rng = np.random.default_rng(0)
    ids = np.array([f"face{number:03d}" for number in range(240)])
    persons, emotions = np.array([f"p{number // 4}" for number in range(240)]), rng.choice(["fear", "happy"], 240)
    half = calibrates(ids, emotions, persons, seed=1)
    assert 0.4 < half.mean() < 0.6
    assert not set(persons[half]) & set(persons[~half])
    order = rng.permutation(240)
    assert (calibrates(ids[order], emotions[order], persons[order], seed=1) == half[order]).all()
    with pytest.raises(UserError, match="--calibration-apart"):
        calibrates(ids[:3], emotions[:3], persons[:3], seed=1)
