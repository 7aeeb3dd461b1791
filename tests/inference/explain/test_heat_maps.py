import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.grad_cam import PICTURE
from fer_hierarchy.inference.explain.heat_maps import (
    enlarged,
    explain_faces,
    map_layers_of,
    map_table,
    mean_heat,
    region_table,
    thirds,
)

SIDE = 12
# Probabilities of the stages for four faces: soft composition overrules the gate on the third.
GATE = [[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.9, 0.1]]
POSITIVE = [[0.8, 0.2], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]
NEGATIVE = [[0.6, 0.4], [0.3, 0.7], [0.95, 0.05], [0.5, 0.5]]
EMOTIONS = ["happy", "sad", "angry", ""]


class KnownStage:
    """Predicts what it is given; its network finds the first class in the upper third, the others in the lower."""

    first_output = 0

    def __init__(self, table):
        self.table = np.array(table)
        self.network = halves_network(self.table.shape[1])

    @property
    def core(self):
        return self.network

    def outputs(self, pixels, rows):
        return self.table[rows]

    def calibrated(self, outputs):
        return outputs


class HeadStage(KnownStage):
    """One that shares its network: of the outputs of all heads side by side it takes its own."""

    def __init__(self, table, everything, network, first_output):
        self.table, self.network, self.first_output = np.array(everything), network, first_output
        self.own = slice(first_output, first_output + len(table[0]))

    def calibrated(self, outputs):
        return outputs[:, self.own]


def halves_network(classes):
    pixels = keras.Input((SIDE, SIDE, 1))
    parts = []
    for name, rows in (("upper", (0, 8)), ("lower", (8, 0))):
        x = layers.Cropping2D((rows, (0, 0)), name=f"{name}_crop")(pixels)
        parts.append(layers.ZeroPadding2D((rows, (0, 0)), name=f"{name}_frame")(x))
    x = layers.Concatenate(name="both")(parts)
    x = layers.Conv2D(2, 1, use_bias=False, activation="relu", name="map")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    network = keras.Model(pixels, layers.Dense(classes, name="predictions")(x))
    network.get_layer("map").set_weights([np.eye(2)[None, None]])
    kernel = np.zeros((2, classes))
    kernel[0, 0] = kernel[1, 1:] = 1
    network.get_layer("predictions").set_weights([kernel, np.zeros(classes)])
    return network


@pytest.fixture(scope="module")
def taxonomy():
    groups = (("positive", ("happy", "neutral")), ("negative", ("angry", "sad")))
    return Taxonomy(name="small", gate="valence", groups=groups)


@pytest.fixture(scope="module")
def explained(taxonomy):
    stages = {"valence": KnownStage(GATE), "positive": KnownStage(POSITIVE), "negative": KnownStage(NEGATIVE)}
    return explain_faces(stages, taxonomy, faces(), rows())


def faces():
    pixels = np.full((4, SIDE, SIDE, 1), 100, np.uint8)
    pixels[3] = 0  # nothing there that could be evidence for a class
    return pixels


def rows():
    return pd.DataFrame({"id": list("abcd"), "emotion": EMOTIONS}, index=[7, 3, 1, 9])


def test_the_specialist_of_the_composed_prediction_is_the_one_that_is_shown(explained):
    gate, positive, negative = explained.stages
    assert explained.predicted.tolist() == ["happy", "sad", "angry", "neutral"]
    assert gate.predicted.tolist() == ["positive", "negative", "positive", "positive"]
    assert (positive.faces.tolist(), positive.predicted.tolist()) == ([0, 3], ["happy", "neutral"])
    assert (negative.faces.tolist(), negative.predicted.tolist()) == ([1, 2], ["sad", "angry"])
    assert (negative.at(2), negative.at(0)) == (1, None)


def test_truth_is_given_per_stage_and_not_invented(explained):
    assert explained.truth("valence").tolist() == ["positive", "negative", "negative", ""]
    assert explained.truth("negative").tolist() == ["", "sad", "angry", ""]


def test_each_map_is_about_the_class_that_the_stage_predicts(explained):
    table = map_table(explained).set_index(["row", "stage"])
    assert len(table) == 8
    assert table.loc[("a", "valence"), "upper"] == 1  # positive, the first class
    assert table.loc[("b", "valence"), "lower"] == 1
    assert table.loc[("c", "negative"), "upper"] == 1
    assert table.loc[("c", "negative"), "probability"] == 0.95
    assert table.loc["d", ["upper", "middle", "lower"]].isna().all(axis=None)


def test_regions_average_each_prediction_and_count_blank_maps(explained):
    table = region_table(map_table(explained), explained).set_index(["stage", "says"])
    assert table.loc[("valence", "positive"), ["faces", "blank"]].tolist() == [3, 1]
    assert table.loc[("valence", "positive"), "upper"] == 1
    assert table.loc[("valence", "all"), "upper"] == pytest.approx(2 / 3, abs=1e-6)
    assert table.loc[("positive", "neutral"), ["faces", "blank"]].tolist() == [1, 1]
    assert np.isnan(table.loc[("positive", "neutral"), "upper"])


def test_a_flat_stage_predicts_every_face(taxonomy):
    table = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]]
    stages = {FLAT: KnownStage(table)}
    (heat,) = explain_faces(stages, taxonomy, faces(), rows()).stages
    assert heat.predicted.tolist() == ["angry", "sad", "angry", "neutral"]
    assert heat.maps[PICTURE].shape == (4, SIDE, SIDE)


def test_stages_on_one_trunk_have_maps_of_their_own_outputs(taxonomy):
    """Of the six outputs of one network only the gate's first comes from the upper third, all others from the lower."""
    everything, network = np.concatenate([GATE, POSITIVE, NEGATIVE], axis=1), halves_network(6)
    tables = {"valence": (GATE, 0), "positive": (POSITIVE, 2), "negative": (NEGATIVE, 4)}
    stages = {name: HeadStage(table, everything, network, first) for name, (table, first) in tables.items()}
    table = map_table(explain_faces(stages, taxonomy, faces(), rows()))
    table = table.set_index(["row", "stage"])
    assert table.loc[("a", "valence"), "upper"] == 1
    assert table.loc[("a", "positive"), "says"] == "happy"
    assert table.loc[("a", "positive"), "lower"] == 1  # the first class of its own, the third of the network
    assert table.loc[("c", "negative"), "lower"] == 1


def test_a_stage_without_a_map_is_named():
    stage = KnownStage(GATE)
    pixels = keras.Input((SIDE, SIDE, 1))
    stage.network = keras.Model(pixels, layers.Dense(2, name="predictions")(layers.Flatten()(pixels)))
    with pytest.raises(UserError, match=r"stage valence: .* no map"):
        map_layers_of({"valence": stage})


def corner(strength):
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = strength
    return heat


def test_enlarging_keeps_the_place_and_ends_at_one():
    heat = enlarged(corner(7), (32, 24))
    assert heat.shape == (32, 24)
    assert heat.max() == 1
    assert heat[:8, :6].sum() > 0.5 * heat.sum()
    assert not heat[16:].any()


def test_a_map_without_heat_stays_so():
    assert not enlarged(np.zeros((4, 4)), (16, 16)).any()


def test_every_map_counts_alike_in_a_mean_and_blank_ones_do_not_count():
    lower = corner(100)[::-1]
    mean = mean_heat([corner(0.01), lower, np.zeros((4, 4))], (16, 16))
    np.testing.assert_allclose(mean, mean[::-1], atol=1e-6)
    assert mean.max() == pytest.approx(0.5)
    assert not mean_heat([], (16, 16)).any()


@pytest.mark.parametrize("rows", [15, 16, 17, 48])
def test_even_heat_falls_on_all_thirds_alike(rows):
    np.testing.assert_allclose(thirds(np.ones((rows, 5))), 1 / 3)


def test_thirds_follow_the_heat():
    heat = np.zeros((30, 30))
    heat[25:] = 1
    np.testing.assert_allclose(thirds(heat), [0, 0, 1])
    heat[0] = 5
    np.testing.assert_allclose(thirds(heat), [0.5, 0, 0.5])
    assert np.isnan(thirds(np.zeros((30, 30)))).all()
