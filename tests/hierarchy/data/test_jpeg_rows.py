"""JPEGs that were cut and closed again, which decoders fill with grey without a word."""

import io

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from tests.conftest import draw_face

END = b"\xff\xd9"


def saved(mode, size, *, grey_below=None, **how):
    """The bytes of a face as JPEG; its rows from `grey_below` on are of the grey that fills cut ones."""
    image = Image.fromarray(draw_face(2, np.random.default_rng(0))).resize(size).convert(mode)
    if grey_below is not None:
        image.paste((128,) * len(image.getbands()), (0, grey_below, *size))
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def cut(content, share):
    """The file with a share of its data, closed as it should be."""
    start = content.index(b"\xff\xda")
    return content[: start + int((len(content) - start) * share)] + END


@pytest.fixture
def read(tmp_path):
    def pixels(content):
        (tmp_path / "face.jpg").write_bytes(content)
        return read_image(tmp_path / "face.jpg")

    return pixels


KINDS = [{}, {"optimize": True}, {"quality": 30}, {"subsampling": 0}, {"restart_marker_blocks": 5}]


@pytest.mark.parametrize("how", KINDS)
@pytest.mark.parametrize(("mode", "size"), [("L", (48, 48)), ("L", (203, 151)), ("RGB", (203, 151))])
def test_a_cut_jpeg_that_is_closed_is_truncated(mode, size, how, read):
    whole = saved(mode, size, **how)
    assert read(whole).shape[:2] == size[::-1]
    for share in (0.3, 0.5):
        with pytest.raises(BadImageError, match="truncated: the file ends before its lower rows"):
            read(cut(whole, share))


@pytest.mark.parametrize("how", [*KINDS, {"progressive": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("below", [0, 16, 60, 128])
def test_a_sound_jpeg_that_ends_in_the_same_grey_is_read(mode, below, how, read):
    assert (read(saved(mode, (203, 151), grey_below=below, **how))[-1] == 128).all()
