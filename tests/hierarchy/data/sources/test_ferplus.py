"""FER+ votes replace FER-2013's labels, row by row."""

import numpy as np
import pytest

from hierarchy.data.sources import read_source
from hierarchy.errors import UserError

FACES = (
    "emotion,pixels,Usage",
    "0,1,Training",
    "3,1,Training",
    "4,1,Training",
    "4,1,PublicTest",
    "4,1,PublicTest",
    "4,1,PrivateTest",
)
HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = (
    HEADER,
    "Training,fer0000000.png,1,0,0,0,7,0,0,0,2,0",  # anger
    "Training,fer0000001.png,0,5,5,0,0,0,0,0,0,0",  # a tie
    "Training,fer0000002.png,0,0,0,2,0,0,0,3,5,0",  # unknown
    "PublicTest,,0,0,0,0,0,0,0,0,0,10",  # no image
    "PublicTest,fer0000004.png,0,0,0,4,0,0,0,5,0,0",  # contempt, nine votes
    "PrivateTest,fer0000005.png,0,0,0,0,0,0,1,0,0,9",  # no face
)


def test_the_most_votes_give_the_label_and_the_shares_give_soft_labels(write, caplog):
    manifest = read_source(write("fer2013.csv", *FACES), ferplus=write("fer2013new.csv", *VOTES))
    assert manifest["id"].tolist() == ["fer0000000", "fer0000004"]
    assert manifest["row"].tolist() == [0, 4]
    assert manifest["emotion"].tolist() == ["angry", "contempt"]
    assert manifest["split"].tolist() == ["train", "validation"]
    soft = manifest.filter(like="soft_")
    assert soft.columns[0] == "soft_angry"
    assert soft.shape == (2, 8)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(soft["soft_angry"], [7 / 8, 0])
    np.testing.assert_allclose(soft["soft_sad"], [0, 4 / 9], rtol=1e-6)
    assert "2 of 6 faces kept" in caplog.text
    assert "1 most votes shared by several choices, 2 most votes for unknown or no face, 1 no image name" in caplog.text


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (VOTES[:-1], "has 5 data rows and .* has 6"),
        ((HEADER, *reversed(VOTES[1:])), r"name different Usage in 6 rows, first in data row 0 \(line 2\)"),
        ((HEADER.replace("NF", "nothing"), *VOTES[1:]), "the column 'NF' is missing; found 'Usage'"),
        ((*VOTES[:-1], VOTES[-1].replace(",9", ",many")), "'many' votes for 'NF' in data row 5"),
        ((*VOTES[:-1], VOTES[-1].replace(",9", ",-1")), "'-1' votes for 'NF' in data row 5"),
    ],
)
def test_votes_that_do_not_belong_to_the_csv_are_refused(write, votes, message):
    with pytest.raises(UserError, match=message) as caught:
        read_source(write("fer2013.csv", *FACES), ferplus=write("fer2013new.csv", *votes))
    assert "\n" not in str(caught.value)


def test_votes_without_any_label_are_refused(write):
    csv = write("fer2013.csv", FACES[0], FACES[1])
    with pytest.raises(UserError, match="no face has an emotion with more votes"):
        read_source(csv, ferplus=write("fer2013new.csv", HEADER, "Training,a.png,0,0,0,0,0,0,0,0,9,1"))


def test_a_shuffled_csv_is_noticed_by_its_labels(write):
    csv = write("fer2013.csv", FACES[0], *(f"{row % 7},1,Training" for row in range(700)))
    votes = write("fer2013new.csv", HEADER, *(["Training,a.png,0,9,1,0,0,0,0,0,0,0"] * 700))
    with pytest.raises(UserError, match="agrees with only 14% of the labels"):
        read_source(csv, ferplus=votes)
