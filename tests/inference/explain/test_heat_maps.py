import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.inference.explain.grad_cam import PICTURE
from fer_hierarchy.inference.explain.heat_maps import explain_faces, map_layers_of, map_table, region_table

SIDE = 12
# What the stages say of four faces: soft composition overrules the gate on the third.
GATE = [[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.9, 0.1]]
POSITIVE = [[0.8, 0.2], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]
NEGATIVE = [[0.6, 0.4], [0.3, 0.7], [0.95, 0.05], [0.5, 0.5]]
EMOTIONS = ["happy", "sad", "angry", ""]


class KnownStage:
    """Says what it is told; its network looks at the upper third for the first class, the lower for the others."""

    first_output = 0

    def __init__(self, table):
        self.table = np.array(table)
        self.network = halves_network(self.table.shape[1])

    @property
    def core(self):
        return self.network

    def outputs(self, pixels, rows):
        return self.table[rows]

    def answer(self, outputs):
        return outputs


class HeadStage(KnownStage):
    """One that shares its network: of the answers to all heads side by side it takes its own."""

    def __init__(self, table, everything, network, first_output):
        self.table, self.network, self.first_output = np.array(everything), network, first_output
        self.own = slice(first_output, first_output + len(table[0]))

    def answer(self, outputs):
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
    return explain_faces(stages, map_layers_of(stages), taxonomy, faces(), rows())


def faces():
    pixels = np.full((4, SIDE, SIDE, 1), 100, np.uint8)
    pixels[3] = 0  # nothing there that could speak for anything
    return pixels


def rows():
    return pd.DataFrame({"id": list("abcd"), "emotion": EMOTIONS}, index=[7, 3, 1, 9])


def test_the_specialist_of_the_composed_answer_is_the_one_that_is_shown(explained):
    gate, positive, negative = explained.stages
    assert explained.answers.tolist() == ["happy", "sad", "angry", "neutral"]
    assert gate.says().tolist() == ["positive", "negative", "positive", "positive"]
    assert (positive.faces.tolist(), positive.says().tolist()) == ([0, 3], ["happy", "neutral"])
    assert (negative.faces.tolist(), negative.says().tolist()) == ([1, 2], ["sad", "angry"])
    assert (negative.at(2), negative.at(0)) == (1, None)


def test_truth_is_told_per_stage_and_not_invented(explained):
    assert explained.truth("valence").tolist() == ["positive", "negative", "negative", ""]
    assert explained.truth("negative").tolist() == ["", "sad", "angry", ""]


def test_each_map_is_about_the_class_that_the_stage_names(explained):
    table = map_table(explained).set_index(["row", "stage"])
    assert len(table) == 8
    assert table.loc[("a", "valence"), "upper"] == 1  # positive, the first class
    assert table.loc[("b", "valence"), "lower"] == 1
    assert table.loc[("c", "negative"), "upper"] == 1
    assert table.loc[("c", "negative"), "probability"] == 0.95
    assert table.loc["d", ["upper", "middle", "lower"]].isna().all(axis=None)


def test_regions_average_each_answer_and_count_blank_maps(explained):
    table = region_table(map_table(explained), explained).set_index(["stage", "says"])
    assert table.loc[("valence", "positive"), ["faces", "blank"]].tolist() == [3, 1]
    assert table.loc[("valence", "positive"), "upper"] == 1
    assert table.loc[("valence", "all"), "upper"] == pytest.approx(2 / 3, abs=1e-6)
    assert table.loc[("positive", "neutral"), ["faces", "blank"]].tolist() == [1, 1]
    assert np.isnan(table.loc[("positive", "neutral"), "upper"])


def test_a_flat_stage_answers_for_every_face(taxonomy):
    table = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]]
    stages = {FLAT: KnownStage(table)}
    (heat,) = explain_faces(stages, map_layers_of(stages), taxonomy, faces(), rows()).stages
    assert heat.says().tolist() == ["angry", "sad", "angry", "neutral"]
    assert heat.maps[PICTURE].shape == (4, SIDE, SIDE)


def test_stages_on_one_trunk_have_maps_of_their_own_outputs(taxonomy):
    """Of the six outputs of one network only the gate's first looks at the upper third, all others at the lower."""
    everything, network = np.concatenate([GATE, POSITIVE, NEGATIVE], axis=1), halves_network(6)
    tables = {"valence": (GATE, 0), "positive": (POSITIVE, 2), "negative": (NEGATIVE, 4)}
    stages = {name: HeadStage(table, everything, network, first) for name, (table, first) in tables.items()}
    table = map_table(explain_faces(stages, map_layers_of(stages), taxonomy, faces(), rows()))
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
