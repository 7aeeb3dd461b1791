"""Features in two dimensions keep neighbours, follow the seed, and any number of faces gets a place."""

import numpy as np
import pytest

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation import features
from fer_hierarchy.hierarchy.evaluation.features import embed, feature_map, stratified

RNG = np.random.default_rng(0)
GROUPS = np.repeat([0, 1, 2], 20)
CLOUDS = RNG.normal(0, 8, (3, 12))[GROUPS] + RNG.normal(0, 1, (60, 12))


def test_neighbours_stay_neighbours():
    points = embed(CLOUDS, seed=0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(60, np.inf))
    assert (GROUPS[distances.argmin(axis=1)] == GROUPS).all()


def test_the_same_seed_gives_the_same_picture():
    first, again = (embed(CLOUDS, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("n", range(7))
@pytest.mark.parametrize("width", [1, 5])
def test_few_faces_and_narrow_features_get_places(n, width):
    points = embed(RNG.normal(0, 1, (n, width)), seed=0)
    assert points.shape == (n, 2)
    assert len(np.unique(points, axis=0)) == n


def test_features_that_say_nothing_get_one_place():
    np.testing.assert_array_equal(embed(np.ones((9, 5)), seed=0), np.zeros((9, 2)))


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="features: some are not finite"):
        embed(np.array([[1.0, np.nan]]), seed=0)


def test_a_choice_keeps_the_shares_and_loses_no_emotion():
    labels = np.repeat(["happy", "sad", "disgust"], [700, 290, 10])[RNG.permutation(1000)]
    chosen = stratified(labels, most=50, seed=0)
    assert dict(zip(*np.unique(labels[chosen], return_counts=True), strict=True)) == {
        "happy": 35, "sad": 14, "disgust": 1,
    }  # fmt: skip
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, stratified(labels, most=50, seed=0))
    assert set(chosen) != set(stratified(labels, most=50, seed=1))
    assert len(stratified(["a"] * 97 + ["b", "c", "d"], most=10, seed=0)) == 10


def test_no_choice_where_all_fit():
    np.testing.assert_array_equal(stratified(["a", "b", "a"], most=3, seed=0), [0, 1, 2])


def test_the_table_holds_each_chosen_face_once_with_its_own_emotion(monkeypatch):
    monkeypatch.setattr(features, "MOST_FACES", 30)
    ids = [f"{i:03d}" for i in range(60)]
    table = feature_map(ids, np.array(["sad", "fear", "happy"])[GROUPS].tolist(), CLOUDS, seed=0)
    assert list(table.columns) == ["row", "emotion", "x", "y"]
    assert table["emotion"].value_counts().to_dict() == {"sad": 10, "fear": 10, "happy": 10}
    for row, emotion in zip(table["row"], table["emotion"], strict=True):
        assert emotion == ("sad", "fear", "happy")[GROUPS[int(row)]]
    assert table["row"].is_unique
    assert np.isfinite(table[["x", "y"]].to_numpy()).all()
