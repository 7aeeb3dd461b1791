"""The generator of rare faces: what it may see, what it leaves, and how it goes on after an interruption."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig  # noqa: E402
from fer_hierarchy.hierarchy.data.faces import read_faces  # noqa: E402
from fer_hierarchy.pt_files import gan_job  # noqa: E402
from fer_hierarchy.pt_files.dcgan import LATENT, Adversaries, Discriminator, Generator, as_faces, augmented  # noqa: E402
from fer_hierarchy.pt_files.gan import main  # noqa: E402
from fer_hierarchy.pt_files.gan_job import likeness, write_sheet  # noqa: E402

TINY = ("--image-size", "16", "--batch-size", "8", "--width", "4", "--epochs", "3", "--count", "5")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Class folders without splits, of which one disgust face stands in train and, as sad, in the official test."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for emotion in ("happy", "sad", "disgust"):
            place = root / split / emotion
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)).save(place / f"{i}.png")
    (root / "test" / "sad" / "copy.png").write_bytes((root / "train" / "disgust" / "0.png").read_bytes())
    return root


def make(data, out, *flags, emotion="disgust"):
    return main(["--data", str(data), "--emotion", emotion, "--out", str(out), *TINY, *flags])


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "made"
    assert make(data, out) == 0
    return out


def pixels(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "disgust").iterdir())])


def test_a_folder_of_faces_appears_and_nothing_else(made):
    assert sorted(p.name for p in made.iterdir()) == ["disgust", "generated.json", "samples.png", "seen.csv"]
    assert [p.name for p in made.parent.iterdir()] == ["made"]
    assert sorted(p.name for p in (made / "disgust").iterdir()) == [f"generated_{n:05d}.png" for n in range(1, 6)]
    assert pixels(made).shape == (5, 16, 16)


def test_a_run_with_the_same_settings_takes_the_faces(data, made):
    run = RunConfig(data=DataConfig(data=str(data), image_size=20, generated=str(made)))
    rows = read_faces(run).split("train")
    assert (rows["source"] == "generated").sum() == 5


def test_only_train_faces_of_the_emotion_are_seen(data, made):
    faces = read_faces(RunConfig(data=DataConfig(data=str(data), image_size=16)))
    train = faces.split("train")
    disgust = train[train["emotion"] == "disgust"].set_index("id")["pixel_hash"]
    seen = pd.read_csv(made / "seen.csv").set_index("row")["pixel_hash"]
    assert set(seen.index) == set(disgust.index) - {"train/disgust/0.png"}  # whose pixels stand in test
    assert not seen.isin(faces.manifest.loc[faces.manifest["split"] != "train", "pixel_hash"]).any()


def test_another_cut_of_the_same_faces_is_refused(data, made):
    from fer_hierarchy.hierarchy.errors import UserError

    other = RunConfig(seed=5, data=DataConfig(data=str(data), image_size=20, generated=str(made)))
    with pytest.raises(UserError, match="validation or test split"):
        read_faces(other)


def test_the_record_holds_where_the_faces_come_from(made):
    record = json.loads((made / "generated.json").read_text())
    assert record["emotion"] == "disgust"
    assert record["count"] == 5
    assert record["seen"]["rows"] == len(pd.read_csv(made / "seen.csv"))
    assert record["settings"]["epochs"] == 3
    assert record["run"]["seed"] == 0
    assert "--emotion disgust" in record["command"]
    assert record["likeness"]["copies"] == 0


def test_an_interrupted_training_goes_on_to_the_same_faces(data, made, tmp_path, monkeypatch, capsys):
    epoch = Adversaries.epoch
    calls = []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return epoch(self, *arguments)

    monkeypatch.setattr(gan_job, "_SAVED_EVERY", 0)
    monkeypatch.setattr(Adversaries, "epoch", interrupted)
    out = tmp_path / "made"
    assert make(data, out) == 130
    assert not out.exists()
    printed = capsys.readouterr().err
    assert printed.splitlines()[-1].startswith("interrupted; go on with: python -m fer_hierarchy.pt_files.gan --data")
    assert printed.rstrip().endswith("--resume")
    monkeypatch.setattr(Adversaries, "epoch", epoch)
    assert make(data, out) == 2
    assert "go on with --resume" in capsys.readouterr().err
    assert make(data, out, "--resume", "--seed", "1") == 2
    assert "was started with other settings or faces (seed: 0 -> 1" in capsys.readouterr().err
    assert make(data, out, "--resume") == 0
    np.testing.assert_array_equal(pixels(out), pixels(made))
    assert not out.with_name("made.work").exists()


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        (["--emotion", "bored"], "unknown emotion 'bored'"),
        (["--emotion", "fear"], "--emotion fear: 0 train faces, but 8 at least are needed; train holds"),
        (["--image-size", "20"], "--image-size 20: the network draws sides that are a multiple of 16"),
        (["--count", "0"], "--count: expected at least 1"),
        (["--batch-size", "many"], "--batch-size: expected a whole number, got 'many'"),
        (["--data", "/nowhere"], "/nowhere: no such file or folder"),
        (["--resume"], "--resume: there is no"),
        (["--faces", "3"], "unrecognized arguments: --faces 3"),
        (["--generated", "x"], "unrecognized arguments: --generated x"),
    ],
)
def test_bad_input_is_one_line(data, tmp_path, capsys, flags, printed):
    assert make(data, tmp_path / "made", *flags) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(errors) == 1
    assert errors[0].startswith("pt_files.gan: error: ")
    assert printed in errors[0]
    assert not any(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused_before_anything_is_read(made, capsys):
    assert make("/nowhere", made) == 2
    assert "exists already; name a new folder" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_one_line(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Adversaries, "draw", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make(data, tmp_path / "made")
    (tmp_path / "made.work" / "checkpoint.pt").write_bytes(b"PK damaged")
    assert make(data, tmp_path / "made", "--resume") == 2
    assert "checkpoint.pt is missing or damaged" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (48, 1), (32, 3)])
def test_networks_of_any_size_and_colour(size, channels):
    generator = Generator(size=size, channels=channels, width=4)
    images = generator(torch.randn(3, LATENT))
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() <= 1
    assert Discriminator(size=size, channels=channels, width=4)(images).shape == (3,)


def test_every_layer_of_the_discriminator_has_a_spectral_norm_of_one():
    discriminator = Discriminator(size=16, channels=1, width=4)
    for _ in range(300):  # the power iteration goes one step a pass, slowly where two singular values are close
        discriminator(torch.randn(2, 1, 16, 16))
    for layer in (*discriminator.halvings, discriminator.score):
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
        assert norm.item() == pytest.approx(1, abs=0.02)


def test_training_brings_the_average_face_closer():
    """All real faces are one bright square on black: the generator has to find it."""
    real = np.zeros((16, 16, 16, 1), np.uint8)
    real[:, 4:12, 4:12] = 220
    adversaries = Adversaries(size=16, channels=1, width=16, seed=0)

    def distance():
        return np.abs(adversaries.draw(16, seed=0).mean(axis=0) - real[0]).mean()

    before = distance()
    for _ in range(60):
        adversaries.epoch(as_faces(real), 8)
    assert distance() < 0.85 * before


def test_the_first_faces_do_not_depend_on_how_many_follow():
    adversaries = Adversaries(size=16, channels=1, width=4, seed=0)
    few, many = adversaries.draw(3, seed=1), adversaries.draw(70, seed=1)
    np.testing.assert_allclose(few.astype(int), many[:3].astype(int), atol=1)
    assert many.shape == (70, 16, 16, 1)
    assert many.dtype == np.uint8
    assert not np.array_equal(few, adversaries.draw(3, seed=2))


def test_augmentation_is_a_function_of_the_dice_that_gradients_pass():
    images = torch.rand(6, 1, 16, 16, requires_grad=True)
    one, same, other = (augmented(images, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == images.shape
    one.sum().backward()
    assert (images.grad != 0).float().mean() > 0.7  # what was shifted out of the picture has none


def test_likeness_finds_copies_and_repetition():
    rng = np.random.default_rng(0)
    seen, fresh = rng.integers(0, 256, (2, 12, 16, 16, 1), dtype=np.uint8)
    assert likeness(fresh, seen)["copies"] == 0
    assert likeness(seen[:5, :, ::-1], seen)["copies"] == 5  # a mirror image is a copy
    assert likeness(fresh, seen)["spread"] == pytest.approx(1, abs=0.2)
    assert likeness(np.repeat(fresh[:1], 12, axis=0), seen)["spread"] == 0


def test_a_contact_sheet_of_few_faces_is_filled_with_black(tmp_path):
    write_sheet(tmp_path / "sheet.png", np.full((3, 16, 16, 3), 200, np.uint8))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (256, 256, 3)
    assert (sheet[:32, :96] == 200).all()
    assert (sheet[32:] == 0).all()
