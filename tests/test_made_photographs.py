"""The photographs that `bench_photographs.py` makes: faces stand where the table says, and the seed decides all."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_hierarchy.hierarchy.data.decoding import read_image

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from made_photographs import KINDS, make_photographs, without_faces

BACKGROUND = np.full((300, 400), 128, np.uint8)


def made(folder, seed=0):
    """Photographs of 20 squares that are bright in the middle; the table and its folder."""
    folder.mkdir()
    square = np.full((48, 48), 128, np.uint8)
    square[14:34, 14:34] = 255
    files = [folder / f"face{number}.png" for number in range(20)]
    for file in files:
        cv2.imwrite(str(file), square)
    table = make_photographs(folder / "made", files, ["happy"] * 20, [BACKGROUND], seed)
    return pd.read_csv(table), folder / "made"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return made(tmp_path_factory.mktemp("photographs") / "a")


def test_every_face_stands_once_where_the_table_says(first):
    table, folder = first
    assert table["face"].nunique() == 20
    for row in table[table["kind"] == "upright"].itertuples():
        picture = read_image(folder / row.file).astype(float)
        part = picture[row.top : row.top + row.height, row.left : row.left + row.width] > 190
        rows, columns = np.nonzero(part)
        assert abs(rows.mean() / row.height - 0.5) < 0.05
        assert abs(columns.mean() / row.width - 0.5) < 0.05


def test_all_kinds_are_made_and_faces_do_not_overlap(first):
    table, _ = first
    assert set(table["kind"]) == set(KINDS)
    for _, own in table.groupby("file"):
        middles = own[["left", "top"]].to_numpy() + own[["width", "height"]].to_numpy() / 2
        cells = {tuple(cell) for cell in (middles // 480).astype(int)}
        assert len(cells) == len(own)


def test_the_seed_decides_all(first, tmp_path):
    again, folder = made(tmp_path / "b")
    assert again.equals(first[0])
    for file in again["file"].unique():
        assert (folder / file).read_bytes() == (first[1] / file).read_bytes()


def test_pictures_without_a_face_are_as_many_as_requested():
    pictures = without_faces([BACKGROUND], 7, seed=0)
    assert len(pictures) == 7
    assert {picture.shape for picture in pictures} <= {(480, 640), (640, 480)}
