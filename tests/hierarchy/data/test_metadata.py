import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.data.metadata import without_metadata

FACE = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
XMP = "<x:xmpmeta><rdf:Description tiff:Orientation={}/></x:xmpmeta>"


def saved(path, kind, **settings):
    Image.fromarray(FACE).save(path, kind, **settings)
    return path


def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_with(path, added):
    content = saved(path, "PNG").read_bytes()
    path.write_bytes(content[:33] + added + content[33:])
    return path


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"tEXt", b"Comment\0damaged", crc=7),
        chunk(b"eXIf", b"no exif at all"),
        chunk(b"pHYs", b""),
    ],
)
def test_no_metadata_keeps_a_png_from_being_read(tmp_path, added):
    np.testing.assert_array_equal(read_image(png_with(tmp_path / "a.png", added)), FACE)


@pytest.mark.parametrize(
    ("marker", "data"),
    [
        (0xED, b"Photoshop 3.0\x008BIM\x03"),
        (0xE0, b"JFIF"),
        (0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9),
        (0xE1, b"Exif\0\0nothing"),
        (0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0"),
    ],
)
def test_no_metadata_keeps_a_jpeg_from_being_read(tmp_path, marker, data):
    path = saved(tmp_path / "a.jpg", "JPEG")
    content, plain = path.read_bytes(), read_image(path)
    path.write_bytes(content[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + content[2:])
    np.testing.assert_array_equal(read_image(path), plain)


def test_a_tiff_is_the_same_without_metadata(tmp_path):
    content = saved(tmp_path / "a.tif", "TIFF", tiffinfo={270: "a face", 305: "a program"}).read_bytes()
    bare = without_metadata(content)
    assert bare != content
    (tmp_path / "a.tif").write_bytes(bare)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), FACE)


def test_a_damaged_image_stays_damaged(tmp_path):
    path = png_with(tmp_path / "a.png", chunk(b"tEXt", b"Comment\0damaged", crc=7))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BadImageError, match="damaged"):
        read_image(path)


def png_text(key, text):
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text)
    return {"pnginfo": info}


def raw_profile(kind, block):
    return png_text(f"Raw profile type {kind}", f"\n{kind}\n{len(block):8}\n{block.hex()}\n")


def exif_block():
    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("JPEG", {"xmp": XMP.format('"6"').encode()}),
        ("JPEG", {"xmp": XMP.format("'6'").encode()}),
        ("WEBP", {"xmp": XMP.format('"6"').encode(), "lossless": True}),
        ("PNG", {"exif": exif_block()}),
        ("PNG", png_text("XML:com.adobe.xmp", XMP.format('"6"'))),
        ("PNG", raw_profile("exif", exif_block())),
        ("PNG", raw_profile("APP1", exif_block())),
        ("PNG", raw_profile("xmp", XMP.format('"6"').encode())),
        ("TIFF", {"exif": exif_block()}),
        ("AVIF", {"exif": exif_block(), "quality": 100, "subsampling": "4:4:4"}),
        ("HEIF", {"exif": exif_block(), "quality": -1, "chroma": 444}),
    ],
)
def test_a_picture_stands_upright_wherever_its_orientation_is_written(tmp_path, kind, settings):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra heif is not installed").register_heif_opener()
    settings = {"quality": 100, **settings} if kind == "JPEG" else settings
    turned = read_image(saved(tmp_path / "a", kind, **settings))
    assert turned.shape == (60, 40, 3)
    if kind not in ("JPEG", "AVIF", "HEIF"):
        np.testing.assert_array_equal(turned, np.rot90(FACE, -1))


def test_a_grey_jpeg_stands_upright_by_xmp(tmp_path):
    Image.fromarray(FACE[..., 0]).save(tmp_path / "a.jpg", xmp=XMP.format('"6"').encode())
    assert read_image(tmp_path / "a.jpg").shape == (60, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_white(tmp_path, mode, recwarn):
    picture = Image.fromarray(FACE).convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    picture.convert(mode).save(tmp_path / "a", "PNG")
    assert (read_image(tmp_path / "a") == 255).all()
    assert not recwarn.list


def test_what_is_opaque_keeps_its_colours(tmp_path):
    content = io.BytesIO()
    Image.fromarray(FACE).convert("RGBA").save(content, "PNG")
    (tmp_path / "a.png").write_bytes(content.getvalue())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), FACE)
