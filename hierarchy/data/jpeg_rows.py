"""Whether a JPEG that ends as it should holds all of its rows, which no decoder reports."""

import io

import numpy as np
from PIL import Image

END = b"\xff\xd9"
FILLER = 128  # what libjpeg shows where a baseline JPEG has no data, in every channel


def lacks_rows(pixels: np.ndarray, content: bytes) -> bool:
    """Whether rows at the bottom are libjpeg's filler for data that is not in the file.

    A sound image may end in rows of the same grey, but these take at least two bits a block (ITU-T T.81): without as
    many bytes from its end only they change. Where the data ended before them, what stands above them changes too.

    Args:
        pixels: (h, w) or (h, w, 3) uint8, as they are stored.
        content: The file, which ends in `END`, and is not progressive: a cut one of those is blurred, which nothing
            shows.
    """
    if (pixels[-1, -1] != FILLER).any():
        return False
    height, width = pixels.shape[:2]
    others = np.flatnonzero((pixels.reshape(height, -1) != FILLER).any(axis=1))
    side = 8 if pixels.ndim == 2 else 16  # of the blocks that are coded together
    top = -(-(others.max(initial=-1) + 1) // side) * side
    bits = 2 * -(-(height - top) // side) * -(-width // side)
    if bits < 8 or top >= height:
        return False
    seen = slice(max(top - 2, 0))  # chroma is smoothed over the border
    shorter = content[: -len(END) - bits // 8] + END
    try:
        return not np.array_equal(_decoded(content)[seen], _decoded(shorter)[seen])
    except OSError:  # of a rare kind, which has no filler
        return False


def _decoded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image)
