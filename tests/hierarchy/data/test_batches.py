"""Training batches as functions of (seed, step) alone, and evaluation batches that touch nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_hierarchy.hierarchy.data.augment import Augmentation
from fer_hierarchy.hierarchy.data.batches import TrainBatches, evaluation_batches
from fer_hierarchy.hierarchy.data.sampling import draw_rows, draw_shares
from tests.conftest import CHECKOUT

STILL = Augmentation(shift=0, flip=False, rotation=0, zoom=0, erase=0)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 1), dtype=np.uint8)
PIXELS[:, 0, 0, 0] = np.arange(40)  # tells which face it is
ROWS = np.arange(3, 26)  # 23 rows, so that batches of 5 leave a rest


def batches(*, rows=ROWS, targets=None, batch_size=5, seed=1, augmentation=STILL, pixels=PIXELS, **more):
    targets = np.eye(40, dtype=np.float32)[rows] if targets is None else targets
    settings = {"batch_size": batch_size, "seed": seed, "augmentation": augmentation}
    return TrainBatches(pixels=pixels, rows=rows, targets=targets, **settings, **more)


def listed(dataset):
    return [tuple(np.asarray(part) for part in batch) for batch in dataset]


def which(faces):
    return faces[:, 0, 0, 0].astype(int).tolist()


@pytest.mark.parametrize(
    "augmentation",
    [STILL, Augmentation(brightness=0.2), Augmentation(operations=2, magnitude=0.5)],
    ids=["still", "augmented", "randaugment"],
)
def test_starting_at_a_later_epoch_gives_the_very_same_batches(augmentation):
    made = batches(augmentation=augmentation)
    whole = listed(made.dataset(0, 3))
    assert len(whole) == 3 * made.steps_per_epoch == 12
    later = listed(batches(augmentation=augmentation).dataset(1, 3))
    assert len(later) == 8
    for (faces, targets), (faces_again, targets_again) in zip(whole[4:], later, strict=True):
        np.testing.assert_array_equal(faces, faces_again)
        np.testing.assert_array_equal(targets, targets_again)


def test_another_seed_gives_another_order_and_other_variants():
    first, again, other = (batches(seed=seed).batch(0) for seed in (1, 1, 2))
    assert which(first[0]) == which(again[0])
    assert which(first[0]) != which(other[0])
    settings = Augmentation()
    same_face = [
        batches(rows=np.array([7]), targets=np.ones((1, 1), np.float32), seed=seed, augmentation=settings).batch(0)[0]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(same_face[0], same_face[1])
    assert (same_face[0] != same_face[2]).any()


def test_steps_can_be_read_in_any_order():
    made = batches(augmentation=Augmentation())
    forward = [made.batch(step)[0] for step in range(8)]
    backward = [made.batch(step)[0] for step in reversed(range(8))][::-1]
    np.testing.assert_array_equal(forward, backward)


def test_an_epoch_passes_every_row_at_most_once_and_each_epoch_in_its_own_order():
    made = batches()
    epochs = [[face for i in range(4) for face in which(made.batch(4 * epoch + i)[0])] for epoch in range(12)]
    for seen in epochs:
        assert len(seen) == len(set(seen)) == 20
        assert set(seen) <= set(ROWS)
    assert len({tuple(seen) for seen in epochs}) == 12
    assert set().union(*epochs) == set(ROWS), "the rest that an epoch leaves out is another one each time"


def test_targets_stay_with_their_faces():
    made = batches()
    for step in range(12):
        faces, targets = made.batch(step)
        assert targets.argmax(axis=1).tolist() == which(faces)


def test_oversampled_rows_come_as_often_as_they_were_drawn_with_their_targets():
    labels = np.array([0] * 15 + [1] * 8)
    drawn = draw_rows(labels, "oversample", seed=0)
    made = batches(rows=ROWS[drawn], targets=np.eye(2, dtype=np.float32)[labels[drawn]], batch_size=5)
    seen = [made.batch(step) for step in range(made.steps_per_epoch)]
    faces = which(np.concatenate([f for f, _ in seen]))
    targets = np.concatenate([t for _, t in seen]).argmax(axis=1)
    assert np.bincount(targets).tolist() == [15, 15]
    assert sorted(faces) == sorted(ROWS[drawn].tolist())
    assert targets.tolist() == [labels[row - 3] for row in faces]


def test_training_faces_are_float_pixels_from_0_to_255_of_one_shape():
    for faces, targets in listed(batches(augmentation=Augmentation(brightness=0.5)).dataset(0, 1)):
        assert faces.dtype == targets.dtype == np.float32
        assert faces.shape == (5, 6, 5, 1)
        assert targets.shape == (5, 40)
        assert faces.min() >= 0
        assert faces.max() <= 255
        assert faces.max() > 1


def test_without_augmentation_training_pixels_equal_the_stored_bytes():
    faces, _ = next(iter(listed(batches().dataset(0, 1))))
    np.testing.assert_array_equal(faces, PIXELS[which(faces)].astype(np.float32))


def test_augmentation_leaves_the_stored_pixels_alone():
    stored = PIXELS.copy()
    stored.flags.writeable = False  # as the memory map of the image cache is
    before = stored.copy()
    changed = batches(pixels=stored, augmentation=Augmentation(erase=1.0, brightness=0.3)).batch(0)[0]
    np.testing.assert_array_equal(stored, before)
    assert not any((changed[0] == face).all() for face in stored)


def test_fewer_rows_than_a_batch_make_one_smaller_batch():
    made = batches(rows=np.array([4, 9, 2]), batch_size=128)
    assert (made.faces_per_step, made.steps_per_epoch) == (3, 1)
    ((faces, _),) = listed(made.dataset(0, 1))
    assert sorted(which(faces)) == [2, 4, 9]


def test_evaluation_pixels_equal_the_stored_bytes_in_the_requested_order():
    rows = np.array([30, 2, 2, 17, 39, 0, 5])
    got = [np.asarray(batch) for batch in evaluation_batches(PIXELS, rows, batch_size=3)]
    assert [len(batch) for batch in got] == [3, 3, 1]
    assert all(batch.dtype == np.float32 for batch in got)
    np.testing.assert_array_equal(np.concatenate(got).astype(np.uint8), PIXELS[rows])
    np.testing.assert_array_equal(np.concatenate(got), np.concatenate(got).astype(np.uint8))


def test_evaluation_is_the_same_every_time():
    dataset = evaluation_batches(PIXELS, ROWS, batch_size=4)
    first, second = (np.concatenate([np.asarray(b) for b in dataset]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# Each face is of one grey of its own, so that mixed pixels tell the shares.
FLAT = np.repeat(np.arange(40, dtype=np.uint8), 16 * 12).reshape(40, 16, 12, 1) * 6
MIXED = [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}]


def mixing(**settings):
    return batches(pixels=FLAT, **settings)


@pytest.mark.parametrize("settings", MIXED, ids=["mixup", "cutmix", "both"])
def test_mixed_batches_are_the_same_whatever_came_before(settings):
    whole = listed(mixing(**settings).dataset(0, 3))
    later = listed(mixing(**settings).dataset(2, 3))
    other = listed(mixing(**settings, seed=2).dataset(2, 3))
    for (faces, targets), (faces_again, targets_again) in zip(whole[8:], later, strict=True):
        np.testing.assert_array_equal(faces, faces_again)
        np.testing.assert_array_equal(targets, targets_again)
    assert any((one[1] != two[1]).any() for one, two in zip(later, other, strict=True))


@pytest.mark.parametrize("settings", MIXED, ids=["mixup", "cutmix", "both"])
def test_targets_are_mixed_by_the_shares_of_the_pixels(settings):
    seen = listed(mixing(**settings).dataset(0, 4))
    for faces, targets in seen:
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(faces.mean(axis=(1, 2, 3)), targets @ (np.arange(40) * 6.0), rtol=1e-4)
    targets = np.concatenate([targets for _, targets in seen])
    assert (targets.max(axis=1) < 0.99).mean() > 0.3, "few faces are mixed at all"
    assert (np.count_nonzero(targets, axis=1) <= 2).all()


def test_mixup_blends_whole_faces_and_cutmix_pastes_rectangles_anywhere():
    assert all((faces == faces[:, :1, :1]).all() for faces, _ in listed(mixing(mixup=0.4).dataset(0, 2)))
    corners = []
    for step, (faces, _) in enumerate(listed(mixing(cutmix=1.0).dataset(0, 8))):
        assert set(np.unique(faces)) <= set(np.unique(FLAT)), "no new greys"
        for pasted in (faces != mixing().batch(step)[0])[..., 0]:
            if pasted.any():
                rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
                assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
                corners.append((rows[0] / 16, columns[0] / 12))
    assert np.abs(np.corrcoef(np.array(corners).T)[0, 1]) < 0.9, "top and left edges are drawn apart"


def test_with_both_on_each_has_its_share_of_the_batches():
    blended = [bool((faces == faces[:, :1, :1]).all()) for faces, _ in listed(mixing(**MIXED[2]).dataset(0, 10))]
    assert 10 <= sum(blended) <= 30


def test_batches_as_arrays_are_never_mixed():
    for step in range(8):
        for one, two in zip(mixing(mixup=1.0, cutmix=1.0).batch(step), mixing().batch(step), strict=True):
            np.testing.assert_array_equal(one, two)


def test_without_mixing_a_dataset_holds_the_very_arrays():
    for step, (faces, targets) in enumerate(listed(batches(augmentation=Augmentation()).dataset(0, 2))):
        expected = batches(augmentation=Augmentation()).batch(step)
        np.testing.assert_array_equal(faces, expected[0].astype(np.float32))
        np.testing.assert_array_equal(targets, expected[1])


def test_sampler_draws_every_class_alike_and_anew_in_each_epoch():
    labels = np.array([0] * 18 + [1] * 5)
    made = batches(targets=np.eye(2, dtype=np.float32)[labels], shares=draw_shares(labels, "sampler"))
    epochs = [
        np.concatenate([which(made.batch(4 * epoch + i)[0]) for i in range(made.steps_per_epoch)])
        for epoch in range(100)
    ]
    assert all(len(seen) == 20 for seen in epochs)
    assert len({tuple(sorted(seen)) for seen in epochs}) > 90, "each epoch draws rows of its own"
    assert any(len(set(seen)) < len(seen) for seen in epochs)
    rare = np.mean([np.mean(labels[seen - 3] == 1) for seen in epochs])
    assert rare == pytest.approx(0.5, abs=0.04)
    drawn = np.bincount(np.concatenate(epochs), minlength=40)[3:26]
    assert drawn[labels == 1].min() > 120, "no row of a class is preferred"
    assert drawn[labels == 0].max() < 100


def test_sampled_batches_are_functions_of_seed_and_step():
    labels = np.array([0] * 18 + [1] * 5)

    def sampled(seed=1):
        return batches(seed=seed, shares=draw_shares(labels, "sampler"))

    whole, later = listed(sampled().dataset(0, 3)), listed(sampled().dataset(2, 3))
    for (faces, targets), (faces_again, targets_again) in zip(whole[8:], later, strict=True):
        np.testing.assert_array_equal(faces, faces_again)
        np.testing.assert_array_equal(targets, targets_again)
        assert targets.argmax(axis=1).tolist() == which(faces)
    assert which(sampled().batch(0)[0]) != which(sampled(seed=2).batch(0)[0])


def test_batches_as_arrays_need_no_tensorflow():
    script = (
        "import sys; import numpy as np\n"
        "from fer_hierarchy.hierarchy.data.augment import Augmentation\n"
        "from fer_hierarchy.hierarchy.data.batches import TrainBatches\n"
        "from fer_hierarchy.hierarchy.data.sampling import draw_rows, draw_shares\n"
        "made = TrainBatches(pixels=np.zeros((4, 8, 8, 1), np.uint8), rows=np.arange(4), batch_size=2, seed=0,\n"
        "    targets=np.eye(4, dtype=np.float32), augmentation=Augmentation(), mixup=0.2)\n"
        "assert made.batch(3)[0].shape == (2, 8, 8, 1)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr[-2000:]


def test_faces_with_depth_keep_distances_that_no_byte_holds():
    faces = np.zeros((40, 6, 5, 4), np.uint16)
    faces[..., :3] = PIXELS
    faces[..., 3] = 12_345
    made = batches(pixels=faces)
    pixels, _ = next(iter(made.dataset(0, 1)))
    assert pixels.dtype == "float32"
    assert set(np.unique(pixels[..., 3])) == {12_345.0}
    assert np.asarray(pixels)[..., :3].max() <= 255
    stored = next(iter(evaluation_batches(faces, ROWS)))
    np.testing.assert_array_equal(stored, faces[ROWS].astype(np.float32))


def test_no_tuner_of_buffers_holds_up_the_end_of_a_training():
    """TensorFlow's own lets the end of a training wait for up to twenty seconds."""
    made = batches()
    for dataset in (made.dataset(0, 1), evaluation_batches(made.pixels, made.rows)):
        assert dataset.options().autotune.enabled is False


def mapped_memory():
    """Bytes of mapped files in the memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssFile")).split()[1])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's account of memory")
def test_a_large_memory_map_leaves_the_memory_and_gives_the_same_batches(tmp_path, monkeypatch):
    faces = np.random.default_rng(0).integers(0, 256, (2000, 64, 64, 1), dtype=np.uint8)  # 8 MB
    np.save(tmp_path / "pixels.npy", faces)
    rows = np.arange(2000)
    targets = np.eye(2, dtype=np.float32)[rows % 2]
    in_memory = batches(pixels=faces, rows=rows, targets=targets, batch_size=50)
    grown = {}
    for limit in (2**30, 2**20):
        monkeypatch.setattr("fer_hierarchy.hierarchy.data.batches._MAPPED", limit)
        pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
        streamed, before = batches(pixels=pixels, rows=rows, targets=targets, batch_size=50), mapped_memory()
        for step in range(60):  # into the second epoch
            for own, same in zip(streamed.batch(step), in_memory.batch(step), strict=True):
                np.testing.assert_array_equal(own, same)
        grown[limit] = mapped_memory() - before
        del streamed, pixels
    assert grown[2**30] > 6e6  # the map that stays is what the limit is for
    assert grown[2**20] < 2e6
    np.testing.assert_array_equal(
        next(iter(evaluation_batches(np.load(tmp_path / "pixels.npy", "r"), rows))), faces[:64]
    )
