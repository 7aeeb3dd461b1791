import logging
import resource
import shutil
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.images import describe_bad, load_images
from fer_hierarchy.hierarchy.errors import UserError
from tests.conftest import CHECKOUT

REAL = CHECKOUT.parent / "shared" / "data" / "fer2013"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))


def face(seed, shape=(48, 48)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def manifest_of(paths, *, rows=None, source="folder", split="train", emotion="happy"):
    n = len(paths)
    return pd.DataFrame(
        {
            "id": [f"face{i}" for i in range(n)],
            "path": [str(p) for p in paths],
            "row": rows if rows is not None else [-1] * n,
            "emotion": emotion,
            "split": split,
            "source": source,
            "subject": "",
            "depth_path": "",
        }
    )


def save(folder, images):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i}.png" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def save_csv(path, fields, columns=("emotion", "pixels", "Usage")):
    values = {"emotion": 3, "pixels": fields, "Usage": "Training"}
    pd.DataFrame({c: values[c.strip()] for c in columns}).to_csv(path, index=False)
    return path


def pixels_field(image):
    return " ".join(map(str, image.ravel()))


def load(manifest, *, size=48, channels=1, skip_bad=False):
    return load_images(manifest, size=size, channels=channels, skip_bad=skip_bad)


def reasons(manifest):
    """Reasons by id, with one good face added so that something is left."""
    return dict(load(manifest, skip_bad=True).bad[["id", "reason"]].to_numpy())


def test_pixels_rows_and_native_sizes_belong_together(tmp_path):
    faces = [face(0), face(1, (96, 96)), face(2, (30, 40))]
    images = load(manifest_of(save(tmp_path / "d", faces)))
    assert images.pixels.shape == (3, 48, 48, 1)
    assert images.pixels.dtype == np.uint8
    assert not images.pixels.flags.writeable
    assert (images.pixels[0, ..., 0] == faces[0]).all()
    assert (images.pixels[1, ..., 0] == cv2.resize(faces[1], (48, 48), interpolation=cv2.INTER_AREA)).all()
    assert images.manifest[["height", "width"]].to_numpy().tolist() == [[48, 48], [96, 96], [30, 40]]
    assert images.bad.empty


def test_colour_to_grey_and_grey_to_colour(tmp_path):
    colour, grey = face(0, (48, 48, 3)), face(1)
    manifest = manifest_of(save(tmp_path / "d", [colour, grey]))
    as_grey, as_colour = load(manifest), load(manifest, channels=3)
    assert (as_grey.pixels[0, ..., 0] == cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)).all()
    assert (as_colour.pixels[0] == colour).all()
    assert (as_colour.pixels[1] == grey[..., None]).all()


def test_sixteen_bits_become_eight_and_exif_turns(tmp_path):
    deep = tmp_path / "deep.png"
    cv2.imwrite(str(deep), face(0).astype(np.uint16) * 257)
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(face(1)).save(turned, exif=exif)
    images = load(manifest_of([deep, turned]))
    assert (images.pixels[0, ..., 0] == face(0)).all()
    assert (images.pixels[1, ..., 0] == np.rot90(face(1), -1)).all()


def test_folder_and_csv_give_the_same_faces_and_fingerprint(tmp_path):
    faces = [face(i) for i in range(5)]
    table = save_csv(tmp_path / "fer.csv", [pixels_field(f) for f in faces])
    folder = load(manifest_of(save(tmp_path / "d", faces)))
    csv = load(manifest_of([table] * 5, rows=range(5), source="fer2013"))
    assert (folder.pixels == csv.pixels).all()
    assert folder.manifest["pixel_hash"].tolist() == csv.manifest["pixel_hash"].tolist()
    assert folder.fingerprint == csv.fingerprint
    assert len(csv.fingerprint) == 16


def test_fingerprint_sees_pixels_emotion_and_split_but_not_order(tmp_path):
    manifest = manifest_of(save(tmp_path / "d", [face(0), face(1)]))
    first = load(manifest).fingerprint
    assert load(manifest[::-1].reset_index(drop=True)).fingerprint == first
    assert load(manifest.assign(emotion=["sad", "happy"])).fingerprint != first
    assert load(manifest.assign(split=["train", "test"])).fingerprint != first


def test_csv_rows_in_any_order_and_odd_headers(tmp_path):
    faces = [face(i) for i in range(4)]
    table = save_csv(tmp_path / "icml.csv", [pixels_field(f) for f in faces], ("emotion", " Usage", " pixels"))
    images = load(manifest_of([table] * 3, rows=[3, 0, 2], source="fer2013"))
    assert (images.pixels[..., 0] == np.stack([faces[3], faces[0], faces[2]])).all()
    assert images.manifest["id"].tolist() == ["face0", "face1", "face2"]


def test_bad_csv_rows_name_the_row_and_the_reason(tmp_path):
    good = face(0)
    values = [str(v) for v in good.ravel()]
    fields = [
        pixels_field(good),
        " ".join(values[:-1]),
        " ".join(["x7", *values[1:]]),
        " ".join(["256", *values[1:]]),
        " ".join(["-1", *values[1:]]),
        "",
        " ".join(["1.5", *values[1:]]),
    ]
    table = save_csv(tmp_path / "fer.csv", fields)
    found = reasons(manifest_of([table] * 8, rows=range(8), source="fer2013"))
    assert found == {
        "face1": "data row 1: 2303 pixel values, expected 2304 (48x48)",
        "face2": "data row 2: pixel value 'x7' is not a whole number of 0..255",
        "face3": "data row 3: pixel value 256 is outside 0..255",
        "face4": "data row 4: pixel value -1 is outside 0..255",
        "face5": "data row 5: 0 pixel values, expected 2304 (48x48)",
        "face6": "data row 6: pixel value '1.5' is not a whole number of 0..255",
        "face7": "data row 7: not in the file",
    }


def broken_files(folder):
    good, *_ = save(folder, [face(0)])
    jpeg = folder / "whole.jpg"
    Image.fromarray(face(1)).save(jpeg)
    names = ("empty.jpg", "cut.jpg", "cut.png", "text.jpg", "huge.bmp", "bomb.png", "folder.jpg", "absent.jpg")
    paths = {name: folder / name for name in names}
    paths["empty.jpg"].touch()
    paths["cut.jpg"].write_bytes(jpeg.read_bytes()[:-200])
    paths["cut.png"].write_bytes(good.read_bytes()[:-200])
    paths["text.jpg"].write_text("no image at all")
    Image.fromarray(face(1)).save(paths["huge.bmp"])
    header = bytearray(paths["huge.bmp"].read_bytes())
    header[18:26] = np.array([9000, 9000], "<i4").tobytes()  # width, height: 81 megapixels
    paths["huge.bmp"].write_bytes(header)
    header[18:26] = np.array([60000, 60000], "<i4").tobytes()
    paths["bomb.png"].write_bytes(header)
    paths["folder.jpg"].mkdir()
    return [good, *paths.values()]


def test_bad_files_have_different_reasons(tmp_path):
    paths = broken_files(tmp_path / "d")
    manifest = manifest_of(paths).assign(id=[p.name for p in paths])
    found = reasons(manifest)
    assert len(found) == 8
    for name, words in {
        "empty.jpg": "empty file",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "text.jpg": "not an image",
        "huge.bmp": "9000x9000 pixels, more than 64 megapixels",
        "bomb.png": "64 megapixels",
        "folder.jpg": "not a file",
        "absent.jpg": "file is missing",
    }.items():
        assert words in found[name], (name, found[name])


def test_a_kind_that_needs_a_package_names_it(tmp_path, monkeypatch):
    photo = tmp_path / "a.heic"
    photo.write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadImageError, match=r"^HEIC needs the extra heif: python -m pip install pillow-heif$"):
        read_image(photo)
    Image.new("L", (8, 8)).save(tmp_path / "a.avif")
    monkeypatch.setattr("PIL.features.check", lambda _: False)
    with pytest.raises(BadImageError, match=r"^AVIF needs another build of Pillow"):
        read_image(tmp_path / "a.avif")


def test_wrong_size_is_bad_only_where_the_source_promises_one(tmp_path):
    paths = save(tmp_path / "d", [face(0), face(1, (64, 48))])
    assert load(manifest_of(paths)).bad.empty
    bad = load(manifest_of(paths, source="fer2013"), skip_bad=True).bad
    assert bad["reason"].tolist() == ["64x48 pixels, this data set's images are 48x48"]


def test_bad_images_stop_by_default_and_leave_no_cache(tmp_path):
    paths = [*save(tmp_path / "d", [face(0)]), *(tmp_path / f"no{i}.png" for i in range(12))]
    with pytest.raises(UserError, match=r"12 bad images: face1 .*no0\.png\): file is missing;.*and 2 more.*--skip-bad"):
        load(manifest_of(paths))
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def test_skip_bad_leaves_them_out_with_a_warning_each_time(tmp_path, caplog):
    good = save(tmp_path / "d", [face(0), face(1)])
    manifest = manifest_of([good[0], tmp_path / "no.png", good[1]])
    for _ in ("decoded", "cached"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="fer_hierarchy"):
            images = load(manifest, skip_bad=True)
        assert images.manifest["id"].tolist() == ["face0", "face2"]
        assert (images.pixels[1, ..., 0] == face(1)).all()
        assert [r.message for r in caplog.records] == [f"left out of 3 images {describe_bad(images.bad)}"]
    with pytest.raises(UserError, match="1 bad image:"):
        load(manifest)


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no usable image among 1"):
        load(manifest_of([tmp_path / "no.png"]), skip_bad=True)


def test_cache_is_used_until_a_file_changes(tmp_path, monkeypatch):
    paths = save(tmp_path / "d", [face(0), face(1)])
    manifest = manifest_of(paths)
    first = load(manifest)
    with monkeypatch.context() as patch:
        patch.setattr("fer_hierarchy.hierarchy.data.images.read_stored", lambda *_: pytest.fail("decoded again"))
        again = load(manifest.assign(emotion="sad"))
    assert (again.pixels == first.pixels).all()
    assert set(again.manifest["emotion"]) == {"sad"}
    Image.fromarray(face(7)).save(paths[0])
    assert (load(manifest).pixels[0, ..., 0] == face(7)).all()


@pytest.mark.parametrize("name", ["pixels.npy", "rows.npz", "bad.json"])
def test_damaged_cache_is_built_again(tmp_path, name):
    manifest = manifest_of(save(tmp_path / "d", [face(0), face(1)]))
    before = load(manifest).pixels.copy()
    entry = next((tmp_path / "cache" / "images").iterdir())
    content = (entry / name).read_bytes()
    (entry / name).write_bytes(content[: len(content) // 2])
    assert (load(manifest).pixels == before).all()
    assert (entry / name).read_bytes() == content
    assert [p.name for p in entry.parent.iterdir()] == [entry.name]


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    manifest = manifest_of(save(tmp_path / "d", [face(i) for i in range(8)]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # stands for a disk with 4 kB left
    try:
        with pytest.raises(UserError, match=r"cache.*cannot write.*FER_CACHE") as caught:
            load(manifest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def test_images_without_room_on_the_disk_are_refused_before_decoding(tmp_path, monkeypatch):
    manifest = manifest_of(save(tmp_path / "d", [face(i) for i in range(8)]))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10_000))
    monkeypatch.setattr("fer_hierarchy.hierarchy.data.images.read_stored", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"8 decoded images take 0\.0 GB.*free.*FER_CACHE.*--image-size"):
        load(manifest)
    assert list((tmp_path / "cache" / "images").iterdir()) == []


def test_cache_folder_that_is_a_file_is_one_line(tmp_path):
    manifest = manifest_of(save(tmp_path / "d", [face(0)]))
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UserError, match="FER_CACHE"):
        load(manifest)


@pytest.mark.parametrize("arguments", [{"channels": 2}, {"size": 0}])
def test_unusable_arguments(tmp_path, arguments):
    with pytest.raises(UserError):
        load(manifest_of(save(tmp_path / "d", [face(0)])), **arguments)


def test_large_images_decode_in_threads(tmp_path):
    faces = [cv2.resize(face(i), (200, 160)) for i in range(6)]
    images = load(manifest_of(save(tmp_path / "d", faces)), size=160)
    expected = np.stack([cv2.resize(f, (160, 160), interpolation=cv2.INTER_AREA) for f in faces])
    assert (images.pixels[..., 0] == expected).all()


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs {REAL}")
def test_real_faces_agree_with_opencv():
    paths = sorted(REAL.glob("test/disgust/*.jpg"))
    images = load(manifest_of(paths, source="fer2013", emotion="disgust", split="test"))
    assert (images.pixels[..., 0] == np.stack([cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in paths])).all()
