"""From one 16-bit PNG to the units of its depth, or to the reason why there are none."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_bytes

_START = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8s4x4sIIBB")  # signature, (length), IHDR, width, height, bits, kind of colour
_GREY = 0


def read_units(path: Path | str, picture: tuple[int, int]) -> np.ndarray:
    """Read the numbers of a depth picture as they are stored.

    Args:
        path: A PNG with one channel of 16 bits.
        picture: (height, width) of the colour picture that it belongs to.

    Returns:
        (height, width) uint16.

    Raises:
        BadImageError: The file is missing, no PNG or damaged; it has another size or other channels, or 8 bits.
    """
    content = read_bytes(Path(path))
    _check_header(content, picture)
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            units = np.asarray(image).astype(np.uint16)
    except Exception as error:  # damaged data makes Pillow raise almost any kind
        raise BadImageError(f"truncated or damaged ({str(error)[:120]})") from error
    if units.shape != tuple(picture):
        raise BadImageError("damaged: its header and its pixels disagree")
    return units


def _check_header(content: bytes, picture: tuple[int, int]) -> None:
    """Raise BadImageError where the first bytes promise anything but 16-bit depth of the picture's size."""
    if not content.startswith(_START):
        raise BadImageError("not a PNG")
    if len(content) < _HEADER.size:
        raise BadImageError(f"truncated after {len(content)} bytes")
    _, _, width, height, bits, kind = _HEADER.unpack_from(content)
    if kind != _GREY:
        raise BadImageError("a picture with colours; depth is one channel of 16 bits")
    if bits != 16:
        raise BadImageError(f"{bits}-bit depth: its units are lost; 16 bits are needed")
    if (height, width) != tuple(picture):
        raise BadImageError(f"{height}x{width} pixels, its picture has {picture[0]}x{picture[1]}")
