"""FER+ votes replace FER-2013's labels: by row number, by file name, and in the folders of Microsoft's code."""

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.sources import expected_size, read_source
from fer_hierarchy.hierarchy.data.sources._votes import CHOICES, majority, vote_shares
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

SHARED = CHECKOUT.parent / "shared" / "data"
VOTES_OF_ALL = SHARED / "ferplus" / "votes.csv"

HEADER = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
# Usage, FER-2013's emotion, file name in Kaggle's copy, name in FER+ ("" for none), votes.
FACES = (
    ("Training", "angry", "Training_1.jpg", "fer0000000.png", "1,0,0,0,7,0,0,0,2,0"),  # anger
    ("Training", "happy", "Training_2.jpg", "fer0000001.png", "0,5,5,0,0,0,0,0,0,0"),  # undecided
    ("Training", "sad", "Training_3.jpg", "fer0000002.png", "0,0,0,2,0,0,0,2,6,0"),  # unknown
    ("Training", "sad", "Training_2.jpg", "fer0000003.png", "0,0,0,6,0,0,3,0,0,0"),  # sadness, nine votes
    ("PublicTest", "sad", "PublicTest_1.jpg", "", ""),  # no image
    ("PublicTest", "sad", "PublicTest_2.jpg", "fer0000005.png", "0,0,0,4,0,0,0,6,0,0"),  # contempt
    ("PublicTest", "sad", "PublicTest_3.jpg", "fer0000006.png", "5,0,0,5,0,0,0,0,0,0"),  # no majority
    ("PrivateTest", "sad", "PrivateTest_1.jpg", "fer0000007.png", "0,0,0,0,0,0,1,0,0,9"),  # no face
)
FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
KNOWN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture
def as_csv(write):
    """fer2013.csv and fer2013new.csv of some faces."""

    def make(faces=FACES):
        csv = write("csv/fer2013.csv", "emotion,pixels,Usage", *(f"{KNOWN.index(f[1])},1,{f[0]}" for f in faces))
        rows = [f"{usage},{image},{votes or '0,0,0,0,0,0,0,0,0,10'}" for usage, _, _, image, votes in faces]
        return csv, write("csv/fer2013new.csv", f"Usage,Image name,{HEADER}", *rows)

    return make


@pytest.fixture
def as_table(place, write):
    """Kaggle's folder copy of some faces and a table of their votes by file name."""

    def make(faces=FACES, *, listed=None, emotion=True):
        root = place(*(f"{'train' if f[0] == 'Training' else 'test'}/{f[1]}/{f[2]}" for f in faces))
        names = ("usage", "emotion", "file", "image", HEADER) if emotion else ("usage", "file", "image", HEADER)
        rows = [(*f[: 2 if emotion else 1], *f[2:4], f[4] or "," * 9) for f in (listed or faces)]
        return root, write("votes.csv", ",".join(names), *(",".join(row) for row in rows))

    return make


@pytest.fixture
def as_folders(place, write):
    """Microsoft's folders of some faces, those without an image left out."""

    def make(faces=FACES):
        for usage, folder in FOLDERS.items():
            own = [face for face in faces if face[0] == usage and face[3]]
            root = place(*(f"{folder}/{face[3]}" for face in own))
            write(f"data/{folder}/label.csv", *(f'{face[3]},"(0, 0, 48, 48)",{face[4]}' for face in own))
        return root

    return make


@pytest.fixture(params=["csv", "table", "folders"])
def manifest(request, as_csv, as_table, as_folders):
    """The manifest of `FACES` in each layout."""
    if request.param == "folders":
        return read_source(as_folders())
    data, votes = (as_csv if request.param == "csv" else as_table)()
    return read_source(data, ferplus=votes)


def test_the_same_votes_give_the_same_faces_and_labels_in_every_layout(manifest):
    assert set(manifest["source"]) == {"ferplus"}
    faces = manifest.sort_values("id", ignore_index=True)
    assert faces["id"].tolist() == ["fer0000000", "fer0000001", "fer0000003", "fer0000005", "fer0000006"]
    assert faces["emotion"].tolist() == ["angry", "happy", "sad", "contempt", "neutral"]
    assert faces["split"].tolist() == ["train", "train", "train", "validation", "validation"]
    assert faces["undecided"].tolist() == [False, True, False, False, True]
    soft = faces.filter(like="soft_")
    assert soft.columns.tolist() == [f"soft_{emotion}" for emotion in (*KNOWN, "contempt")]
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(soft["soft_happy"], [0, 0.5, 0, 0, 0])
    np.testing.assert_allclose(soft["soft_sad"], [0, 0, 2 / 3, 0.4, 0.5], rtol=1e-6)
    assert expected_size("ferplus") == (48, 48)


def test_what_is_left_out_is_counted_by_reason(as_table, caplog):
    root, votes = as_table()
    with caplog.at_level(logging.WARNING, "fer_hierarchy"):
        read_source(root, ferplus=votes)
    (record,) = caplog.records
    assert record.getMessage() == (
        "FER+ majority labels: 3 of 8 faces; left out: 2 without a choice of more than half, 2 unknown or not a face, "
        "1 without an image. --soft-labels trains on the vote shares of 1 of them."
    )


def test_pictures_lie_where_the_manifest_points(as_table, as_folders):
    root, votes = as_table()
    assert all(Path(path).is_file() for path in read_source(root, ferplus=votes)["path"])
    shutil.rmtree(root)
    assert all(Path(path).is_file() for path in read_source(as_folders())["path"])


@pytest.mark.parametrize(
    ("votes", "choice"),
    [
        ("6,4,0,0,0,0,0,0,0,0", "neutral"),
        ("5,5,0,0,0,0,0,0,0,0", None),
        ("5,3,2,0,0,0,0,0,0,0", None),  # exactly half
        ("3,1,1,1,1,1,1,1,0,0", "neutral"),  # all that remain
        ("4,2,1,1,1,1,0,0,0,0", "neutral"),
        ("3,0,0,1,1,1,1,0,3,0", None),
        ("0,0,0,0,0,0,0,0,6,4", "unknown"),
        ("4,0,0,0,0,0,0,0,0,6", "NF"),
        ("1,1,1,1,1,1,1,1,1,1", None),
    ],
)
def test_the_majority_has_more_than_half_of_the_votes_that_are_not_single(votes, choice):
    (found,) = majority(np.array([votes.split(",")], dtype=int))
    assert found == (-1 if choice is None else CHOICES.index(choice))


@pytest.mark.parametrize(
    ("votes", "shares"),
    [
        ("8,2,0,0,0,0,0,0,0,0", {0: 1}),  # three quarters are held
        ("6,3,1,0,0,0,0,0,0,0", {0: 6 / 9, 1: 3 / 9}),  # a single vote is noise
        ("6,2,2,0,0,0,0,0,0,0", {0: 0.6, 1: 0.2, 2: 0.2}),  # equal choices go together
        ("4,2,2,2,0,0,0,0,0,0", {}),  # four emotions
        ("5,0,0,0,0,0,0,0,5,0", {}),  # the emotion has no more than half
        ("4,2,0,0,0,0,0,0,2,1", {0: 4 / 6, 1: 2 / 6}),  # unknown ends the list
        ("3,3,0,0,0,0,0,0,4,0", {}),  # unknown comes first
        ("6,0,0,0,0,0,0,0,4,0", {0: 1}),
        ("1,1,1,1,1,1,1,1,1,1", {}),
    ],
)
def test_vote_shares_are_those_of_the_leading_emotions(votes, shares):
    (found,) = vote_shares(np.array([votes.split(",")], dtype=int))
    np.testing.assert_allclose(found, [shares.get(column, 0) for column in range(8)])


def changed(row, *, votes=None, image=None):
    """`FACES` with one row changed."""
    usage, emotion, file, old, cast = FACES[row]
    new = (usage, emotion, file, old if image is None else image, votes or cast)
    return (*FACES[:row], new, *FACES[row + 1 :])


@pytest.mark.parametrize("layout", ["csv", "table", "folders"])
@pytest.mark.parametrize(
    ("row", "votes", "message"),
    [
        (0, "1,0,0,0,7,0,0,0,2,many", "'many' votes for 'NF' in"),
        (0, "1,0,0,0,7,0,0,0,3,-1", "'-1' votes for 'NF' in"),
        (0, "1,0,0,0,7.5,0,0,0,1.5,0", "'7.5' votes for 'anger' in"),
        (0, "1,0,0,0,7,0,0,0,,2", "'' votes for 'unknown' in"),
        (0, "1,0,0,0,7,0,0,0,0,0", r"the votes of 2 of \d faces do not sum to 10, first 8 votes in"),  # two rows
        (3, "0,0,0,6,0,0,5,0,0,0", r"the votes of 1 of \d faces do not sum to 10, first 11 votes in"),
        (3, "0,0,0,-6,0,0,11,0,0,5", "'-6' votes for 'sadness' in .*; a whole number from 0 to 10 is needed"),
        (3, "0,0,0,6,0,0,1e30,0,0,0", "'1e30' votes for 'fear' in"),
        (3, "0,0,0,6,0,0,inf,0,0,0", "'inf' votes for 'fear' in"),
        (0, "0,0,0,0,9,0,0,0,0,0", r"the votes of 2 of \d faces do not sum to 10, first 9 votes in"),
    ],
)
def test_votes_that_are_no_ten_whole_votes_are_refused(as_csv, as_table, as_folders, layout, row, votes, message):
    faces = changed(row, votes=votes)
    makers = {"csv": as_csv, "table": as_table, "folders": lambda faces: (as_folders(faces), None)}
    data, table = makers[layout](faces)
    with pytest.raises(UserError, match=message) as caught:
        read_source(data, ferplus=table)
    assert "\n" not in str(caught.value)


def test_votes_without_any_label_are_refused(as_csv):
    csv, votes = as_csv([("Training", "angry", "", "fer0000000.png", "0,0,0,0,0,0,0,0,9,1")])
    with pytest.raises(UserError, match="no face has an emotion with more than half of the votes"):
        read_source(csv, ferplus=votes)


def test_a_csv_and_votes_of_other_rows_are_refused(as_csv, write):
    csv, votes = as_csv()
    lines = votes.read_text().splitlines()
    for kept, message in (
        (lines[:-1], "has 7 data rows and .* has 8"),
        ((lines[0], *reversed(lines[1:])), r"name different Usage in 8 rows, first in data row 0 \(line 2\)"),
        ((lines[0].replace("NF", "nothing"), *lines[1:]), "the column 'NF' is missing; found 'Usage'"),
    ):
        with pytest.raises(UserError, match=message):
            read_source(csv, ferplus=write("csv/fer2013new.csv", *kept))


def test_a_shuffled_csv_is_noticed_by_its_labels(write):
    csv = write("fer2013.csv", "emotion,pixels,Usage", *(f"{row % 7},1,Training" for row in range(700)))
    votes = write("new.csv", f"Usage,Image name,{HEADER}", *(["Training,a.png,0,9,1,0,0,0,0,0,0,0"] * 700))
    with pytest.raises(UserError, match="agrees with only 14% of the labels"):
        read_source(csv, ferplus=votes)


def test_a_folder_copy_takes_no_votes_by_row_number(as_table, as_csv):
    root, _ = as_table()
    with pytest.raises(UserError, match=r"goes by the row number of fer2013.csv, which the pictures .* lack"):
        read_source(root, ferplus=as_csv()[1])


def test_votes_for_other_pictures_are_noted(as_table, caplog):
    root, votes = as_table(FACES[:6], listed=FACES)
    assert len(read_source(root, ferplus=votes)) == 4
    assert "votes.csv has votes for 2 pictures that are not in data." in caplog.text


def test_pictures_without_votes_are_refused(as_table):
    root, votes = as_table(listed=FACES[:-3])
    with pytest.raises(UserError, match=r"no votes for 3 of the 8 pictures of .* \(first test/sad/PrivateTest_1.jpg\)"):
        read_source(root, ferplus=votes)
    root, votes = as_table(listed=[("Training", "sad", "Training_9.jpg", *FACES[0][3:])])
    with pytest.raises(UserError, match="no votes for 8 of the 8 pictures"):
        read_source(root, ferplus=votes)


def test_a_name_of_two_faces_needs_the_emotion(as_table, write):
    root, votes = as_table(emotion=False)
    with pytest.raises(UserError, match=r"1 rows repeat the file of another, first 'Training_2.jpg'.*column emotion"):
        read_source(root, ferplus=votes)
    root, votes = as_table(listed=FACES[:3] + FACES[4:], emotion=False)
    with pytest.raises(UserError, match=r"1 file names stand for two pictures \(first Training_2.jpg\)"):
        read_source(root, ferplus=votes)


def test_a_table_without_emotions_serves_names_that_are_unique(as_table):
    root, votes = as_table(FACES[:3] + FACES[4:], emotion=False)
    assert sorted(read_source(root, ferplus=votes)["id"]) == [
        "fer0000000",
        "fer0000001",
        "fer0000005",
        "fer0000006",
    ]


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ((*FACES, FACES[0]), "1 rows repeat the emotion and file of another, first 'angry/Training_1.jpg'"),
        (changed(1, image="fer0000000.png"), "1 rows repeat the image of another, first 'fer0000000.png'"),
        ((("Training", "bored", *FACES[0][2:]), *FACES[1:]), r"unknown emotion 'bored' in data row 0 \(line 2\)"),
    ],
)
def test_a_table_that_is_ambiguous_is_refused(as_table, listed, message):
    root, votes = as_table(listed=listed)
    with pytest.raises(UserError, match=message):
        read_source(root, ferplus=votes)


def test_a_table_without_file_names_is_refused(as_table, write):
    root, votes = as_table()
    votes = write("votes.csv", votes.read_text().replace("file", "name", 1))
    with pytest.raises(UserError, match="the column 'file' is missing"):
        read_source(root, ferplus=votes)


def test_the_folders_are_recognised_and_some_may_be_missing(as_folders):
    root = as_folders()
    shutil.rmtree(root / "FER2013Test")
    assert read_source(root.parent)["source"].unique().tolist() == ["ferplus"]  # the folder around it
    shutil.rmtree(root / "FER2013Valid")
    assert set(read_source(root)["split"]) == {"train"}


def edit(table, pattern, replacement):
    table.write_text(re.sub(pattern, replacement, table.read_text(), count=1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f / "label.csv", "^", f"name,box,{HEADER}\n"), "its first row names no picture"),
        (lambda f: edit(f / "label.csv", ',"[^"]*"', ""), "has 11 columns; needed are 12: a picture's name"),
        (lambda f: (f / "label.csv").unlink(), r"label.csv is missing: it holds the votes"),
        (lambda f: (f / "label.csv").write_text(""), "is empty"),
        (lambda f: edit(f / "label.csv", "fer0000001", "fer0000000"), "1 rows repeat the name of another.* in line 2"),
        (lambda f: (f / "fer0000002.png").unlink(), r"1 of 4 pictures are not in FER2013Train \(first 'fer0000002"),
        (lambda f: (f / "fer0000009.png").touch(), r"no votes for 1 of the 5 pictures .* \(first fer0000009.png\)"),
        (
            lambda f: shutil.copy(f.parent / "FER2013Valid/label.csv", f / "label.csv"),
            r"2 of 2 pictures are not in FER2013Train \(first 'fer0000005.png'\); is it the table of another folder",
        ),
        (
            lambda f: [picture.unlink() for picture in f.glob("*.png")],
            "FER2013Train holds no picture, but label.csv has votes for 4",
        ),
    ],
)  # fmt: skip
def test_folders_whose_parts_do_not_fit_are_refused(as_folders, damage, message):
    root = as_folders()
    damage(root / "FER2013Train")
    with pytest.raises(UserError, match=message) as caught:
        read_source(root)
    assert "\n" not in str(caught.value)


def test_the_folders_take_no_further_votes(as_folders, as_csv):
    with pytest.raises(UserError, match=r"holds the votes of FER.* already, in label.csv; leave out --ferplus"):
        read_source(as_folders(), ferplus=as_csv()[1])


@pytest.mark.real_data
@pytest.mark.skipif(not VOTES_OF_ALL.is_file(), reason="the votes of FER+ are not beside the checkout")
def test_the_real_votes_keep_as_many_faces_as_are_published():
    manifest = read_source(SHARED / "fer2013", ferplus=VOTES_OF_ALL)
    # 3,191 validation faces are what others report of FER2013Valid, whose table this is.
    assert manifest.groupby(["split", "undecided"]).size().to_dict() == {
        ("train", False): 25019,
        ("train", True): 2900,
        ("validation", False): 3191,
        ("validation", True): 317,
    }
