"""The embedded faces: the same for the same seed, balanced as promised, expressive, and drawn once."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.manifest import MANIFEST_COLUMNS, check_manifest
from fer_hierarchy.hierarchy.data.sources import expected_size, read_source, source_names
from fer_hierarchy.hierarchy.data.sources import synthetic as source
from fer_hierarchy.hierarchy.data.synthetic import embedded, parameters
from fer_hierarchy.hierarchy.data.synthetic.embedded import (
    SHARES,
    SyntheticSpec,
    entries,
    face_emotion,
    render_face,
    sample_face,
)
from fer_hierarchy.hierarchy.data.synthetic.parameters import OCCLUSIONS
from fer_hierarchy.hierarchy.data.synthetic.portrait import draw_layers, render
from fer_hierarchy.hierarchy.errors import UserError

TINY = SyntheticSpec(seed=5, train=60, validation=50, test=50)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache; what is drawn into it is blank, because drawing takes a while."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded, "render_face", lambda *_: np.zeros((48, 48), np.uint8))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """The manifest of faces that were drawn once, and may not be drawn again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(source, "SyntheticSpec", lambda: TINY)
        manifest = read_source(None)
        patch.setattr(embedded, "render_face", lambda *_: pytest.fail("drawn again"))
        yield manifest


def faces_of(emotion, count=40, seed=1):
    indices = (i for i in range(10_000) if face_emotion(seed, i) == emotion)
    return [sample_face(seed, index) for index, _ in zip(indices, range(count), strict=False)]


def mean_unit(emotion, number):
    return np.mean([face.unit(number) for face in faces_of(emotion)])


def test_a_face_is_48_by_48_grey_with_something_on_it():
    face = render_face(2013, 0)
    assert face.shape == (48, 48)
    assert face.dtype == np.uint8
    assert face.std() > 8


def test_a_face_depends_on_seed_and_index_only():
    alone = render_face(3, 17)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    assert [np.array_equal(render_face(3, i), alone) for i in (16, 17, 18)] == [False, True, False]
    assert not np.array_equal(render_face(4, 17), alone)


def test_a_face_is_the_same_in_another_process():
    program = (
        "from fer_hierarchy.hierarchy.data.synthetic.embedded import render_face;"
        "print(int(render_face(3, 17).astype(int).sum()))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(answer.stdout) == render_face(3, 17).astype(int).sum()


def test_any_hundred_faces_hold_the_promised_shares():
    assert Counter(face_emotion(9, i) for i in range(230, 330)) == SHARES
    assert sum(SHARES.values()) == 100


@pytest.mark.parametrize("seed", [0, 1, 2013])
def test_the_smallest_split_holds_every_emotion_wherever_it_starts(seed):
    cycle = [face_emotion(seed, i) for i in range(200)]
    size = embedded.SMALLEST_SPLIT
    assert all(set(cycle[start : start + size]) == set(SHARES) for start in range(100))


def test_default_splits_are_imbalanced_but_hold_enough_disgust():
    counts = Counter((face.split, face.emotion) for face in entries(SyntheticSpec()))
    assert counts["train", "happy"] == 650
    assert (counts["train", "disgust"], counts["validation", "disgust"], counts["test", "disgust"]) == (78, 15, 21)


def test_splits_share_no_subject_and_subjects_hold_several_faces():
    faces = entries(TINY)
    subjects = {split: {f.subject for f in faces if f.split == split} for split in ("train", "validation", "test")}
    assert not subjects["train"] & subjects["validation"]
    assert not (subjects["train"] | subjects["validation"]) & subjects["test"]
    assert len(subjects["train"]) == 60 / embedded.FACES_PER_SUBJECT


def test_faces_of_a_subject_share_the_person_but_not_the_picture():
    first, second, stranger = sample_face(1, 0), sample_face(1, 1), sample_face(1, embedded.FACES_PER_SUBJECT)
    assert first.identity == second.identity != stranger.identity
    assert first.view != second.view


def test_another_train_size_leaves_the_test_faces_alone():
    bigger = replace(TINY, train=90)
    test = [face for face in entries(TINY) if face.split == "test"]
    assert test == [face for face in entries(bigger) if face.split == "test"]


@pytest.mark.parametrize(
    ("emotion", "number"),
    [
        ("angry", 4),
        ("angry", 23),
        ("disgust", 9),
        ("fear", 20),
        ("happy", 12),
        ("happy", 6),
        ("sad", 15),
        ("surprise", 26),
    ],
)
def test_an_emotion_moves_its_action_units(emotion, number):
    assert mean_unit(emotion, number) > mean_unit("neutral", number) + 0.3


def test_confusable_emotions_overlap():
    brows = {emotion: [face.unit(1) for face in faces_of(emotion)] for emotion in ("fear", "surprise")}
    assert min(brows["surprise"]) < np.mean(brows["fear"]) < max(brows["surprise"])
    assert any(face.unit(9) > 0.2 for face in faces_of("angry"))


def test_neutral_faces_are_calm():
    assert np.mean([max(face.units.values()) for face in faces_of("neutral")]) < 0.5


def mean_picture(units):
    """Twenty persons with the same expression, without noise."""
    pictures = []
    for index in range(0, 100, 5):
        face = sample_face(1, index)
        calm = replace(face.view, noise=0.0, occlusion="none", yaw=0.0, pitch=0.0, roll=0.0)
        pictures.append(render(replace(face, units=units, view=calm)).astype(float))
    return np.mean(pictures, axis=0)


@pytest.mark.parametrize(
    ("units", "rows"),
    [
        ({26: 1.0}, slice(30, 48)),
        ({12: 1.0, 25: 1.0}, slice(30, 48)),
        ({15: 1.0}, slice(30, 48)),
        ({4: 1.0}, slice(8, 24)),
    ],
)
def test_an_action_unit_changes_its_own_part_of_the_face(units, rows):
    change = np.abs(mean_picture(units) - mean_picture({}))
    elsewhere = np.delete(change, np.arange(48)[rows], axis=0)
    assert change[rows].max() > 15
    assert change[rows].mean() > 2 * elsewhere.mean()


def test_every_occlusion_hides_something():
    face = sample_face(1, 0)
    pictures = [render(replace(face, view=replace(face.view, occlusion=name))) for name in OCCLUSIONS]
    assert len({picture.tobytes() for picture in pictures}) == len(OCCLUSIONS)


def test_the_nose_stands_out_of_the_height_layer():
    face = sample_face(1, 0)
    layers = draw_layers(replace(face, view=replace(face.view, yaw=0.0, pitch=0.0)))
    height = layers.height
    assert layers.tone.shape == layers.crease.shape == height.shape
    assert height[56, 48] > height[56, 30] > height[0, 0]


def test_extreme_parameters_still_draw(monkeypatch):
    monkeypatch.setattr(parameters, "normal", lambda rng: 2.2)
    face = replace(sample_face(1, 0), units=dict.fromkeys(range(1, 27), 1.2))
    assert render(face).std() > 5


@pytest.mark.parametrize("sizes", [{"train": 10}, {"test": 0}, {"validation": 10**7}, {"seed": -1}])
def test_unusable_sizes_are_named(sizes):
    with pytest.raises(UserError, match=next(iter(sizes))):
        SyntheticSpec(**sizes)


def test_the_source_gives_a_proper_manifest(cached):
    check_manifest(cached)
    assert tuple(cached.columns) == MANIFEST_COLUMNS
    assert cached["split"].value_counts().to_dict() == {"train": 60, "validation": 50, "test": 50}
    assert set(cached["source"]) == {"synthetic"}
    assert (cached["row"] == -1).all()
    assert (cached["subject"] != "").all()
    assert "synthetic" in source_names()
    assert expected_size("synthetic") == (48, 48)


def test_the_pictures_are_png_files_of_the_faces(cached):
    last = entries(TINY)[-1]
    path = cached["path"].iloc[-1]
    assert path.startswith(os.environ["FER_CACHE"])
    assert path.endswith(f"test/{last.emotion}/{last.name}.png")
    assert np.array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED), render(sample_face(last.seed, last.index)))


def test_the_second_reading_draws_nothing(cached):
    assert source.read(None, spec=TINY).equals(cached)


def test_a_damaged_cache_is_drawn_again(own_cache):
    paths = source.read(None, spec=TINY)["path"]
    folder = embedded.rendered_folder(TINY)
    (folder / entries(TINY)[0].file).unlink()
    (folder / entries(TINY)[1].file).write_bytes(b"")
    assert source.read(None, spec=TINY)["path"].equals(paths)
    assert all((folder / face.file).stat().st_size for face in entries(TINY))


def test_an_interrupted_drawing_leaves_nothing(own_cache, monkeypatch):
    drawn = []

    def interrupted(seed, index):
        drawn.append(index)
        if len(drawn) == 20:
            raise KeyboardInterrupt
        return np.zeros((48, 48), np.uint8)

    monkeypatch.setattr(embedded, "render_face", interrupted)
    with pytest.raises(KeyboardInterrupt):
        source.read(None, spec=TINY)
    assert list((own_cache / "synthetic").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="FER_CACHE") as caught:
        source.read(None, spec=TINY)
    assert "\n" not in str(caught.value)


def test_the_faces_of_this_version_are_the_ones_they_always_were():
    assert embedded.GENERATOR_VERSION == 1
    sums = [int(render_face(2013, index).astype(int).sum()) for index in (0, 1, 2, 3)]
    assert sums == pytest.approx([317407, 389781, 315298, 384194], rel=0.003)
