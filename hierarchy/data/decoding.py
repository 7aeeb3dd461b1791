"""From one image file or one csv row to checked 8-bit pixels, or to the reason why there are none."""

import hashlib
import io
import math
import re
import stat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError, features

from fer_hierarchy.hierarchy.data.audit.pixels.measures import middle
from fer_hierarchy.hierarchy.data.jpeg_rows import END, FILLER, lacks_rows
from fer_hierarchy.hierarchy.data.metadata import upright, without_metadata

MAX_PIXELS = 64_000_000  # a header that promises more is refused before anything is decoded
MAX_BYTES = 4 * MAX_PIXELS  # uncompressed RGBA of the largest image; a longer file is no image that we want
# Formats decoded by libraries inside Pillow. EPS and the like would start other programs.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
_AVIF, _HEIF = re.compile(b"avi[fs]"), re.compile(b"hei|hev|mif1|msf1")  # among the brands of such files
_MOST_BRANDS = 256  # bytes


class BadImageError(Exception):
    """An image that cannot be used; the message is the reason, without the image's name."""


class Decoded(NamedTuple):
    """One usable image."""

    pixels: np.ndarray  # (size, size, channels) uint8; with depth uint16, see `hierarchy.data.depth.depth_planes`
    digest: bytes  # 16, blake2b over native shape and native pixels
    size: tuple[int, int]  # native (height, width) in pixels
    sample: np.ndarray  # (h, w) or (h, w, 3) uint8, what `data.audit.pixels` measures: native pixels as stored


def read_image(path: Path | str, expected: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file at its native size.

    Args:
        path: The file.
        expected: (height, width) that the data set promises; None accepts every size.

    Returns:
        (h, w) uint8 for a grey image, (h, w, 3) uint8 RGB for one with colours; what is transparent lies on white.

    Raises:
        BadImageError: The file is missing, unreadable, no image, damaged, enormous or of another size.
    """
    return without_false_colour(read_stored(path, expected))


def decode_image(content: bytes) -> np.ndarray:
    """As `read_image`, of the content of a file."""
    return without_false_colour(_decoded(content))


def image_pixels(image: Image.Image) -> np.ndarray:
    """As `read_image`, of what Pillow has opened or made."""
    _check_header(image)
    return without_false_colour(_decode(image, b""))


def read_stored(path: Path | str, expected: tuple[int, int] | None = None) -> np.ndarray:
    """As `read_image`, but a grey image that is stored in three equal channels keeps all three."""
    pixels = _decoded(read_bytes(Path(path)))
    check_size(pixels.shape[:2], expected)
    return pixels


def _decoded(content: bytes) -> np.ndarray:
    try:
        return _pixels(content)
    except BadImageError:
        bare = without_metadata(content)
        if bare == content:
            raise
        return _pixels(bare)


def _pixels(content: bytes) -> np.ndarray:
    formats = _formats(content)
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(f"more than {MAX_PIXELS // 10**6} megapixels, refused before decoding") from error
    except UnidentifiedImageError as error:
        raise BadImageError(f"not an image that can be read ({', '.join(FORMATS)}, AVIF, HEIC)") from error
    except Exception as error:  # a damaged header makes Pillow's plugins raise almost any kind
        raise BadImageError(f"damaged image header ({_first_line(error)})") from error
    with image:
        _check_header(image)
        return _decode(image, content)


def _formats(content: bytes) -> tuple[str, ...]:
    """The kinds that an image may be of: Pillow needs a package for HEIC, and some builds of it lack AVIF."""
    brands = content[8 : min(int.from_bytes(content[:4], "big"), _MOST_BRANDS)] if content[4:8] == b"ftyp" else b""
    if _AVIF.search(brands):
        if "avif" not in features.modules or not features.check("avif"):
            raise BadImageError("AVIF needs another build of Pillow: python -m pip install --upgrade pillow")
        return ("AVIF",)
    if _HEIF.search(brands):
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise BadImageError("HEIC needs the extra heif: python -m pip install pillow-heif") from error
        register_heif_opener()
        return ("HEIF",)
    return FORMATS


def parse_pixels(text: str, expected: tuple[int, int] | None = None) -> np.ndarray:
    """Parse the `pixels` field of a csv row: blank-separated grey values, row by row.

    Args:
        text: The field.
        expected: (height, width) of the image; None takes the square of as many values.

    Returns:
        (h, w) uint8.

    Raises:
        BadImageError: A value is no whole number of 0..255, or their count is wrong.
    """
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    except ValueError:
        _refuse_words(text)
        raise BadImageError(f"pixels {text[:20]!r} are not whole numbers of 0..255") from None
    side = math.isqrt(values.size)
    height, width = expected or (side, side)
    if values.size == 0 or values.size != height * width:
        _refuse_words(text)
        right = f"{height * width} ({height}x{width})" if expected else "the square of the image's side"
        raise BadImageError(f"{values.size} pixel values, expected {right}")
    outside = values[(values < 0) | (values > 255)]
    if outside.size:
        raise BadImageError(f"pixel value {outside[0]} is outside 0..255")
    return values.astype(np.uint8).reshape(height, width)


def _refuse_words(text: str) -> None:
    word = next((w for w in text.split() if not w.lstrip("-").isdecimal()), None)
    if word is not None:
        raise BadImageError(f"pixel value {word[:20]!r} is not a whole number of 0..255")


def finish(native: np.ndarray, size: int, channels: int, stored: np.ndarray | None = None) -> Decoded:
    """Fingerprint a native image and bring it to the working size and number of channels.

    Args:
        native: (h, w) or (h, w, 3) uint8 as `read_image` and `parse_pixels` give it.
        size: Side of the result in pixels.
        channels: 1 (grey) or 3 (RGB).
        stored: What to measure instead of `native`, as `read_stored` gives it.
    """
    sample = middle(native if stored is None else stored)
    return Decoded(with_channels(native, size, channels), digest_of(native), native.shape[:2], sample)


def digest_of(native: np.ndarray, *further: np.ndarray) -> bytes:
    """16 bytes over the shape and the pixels of an image, and over what belongs to it."""
    digest = hashlib.blake2b(repr(native.shape).encode(), digest_size=16)
    for part in (native, *further):
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def with_channels(native: np.ndarray, size: int, channels: int) -> np.ndarray:
    """A native image at the working size and number of channels, uint8 (size, size, channels)."""
    height, width = native.shape[:2]
    pixels = native
    if channels == 1 and pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if (height, width) != (size, size):
        # Area averaging does not alias when shrinking; it repeats pixels when enlarging, where cubic is smooth.
        shrinks = height >= size and width >= size
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if channels == 3 and pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return pixels.reshape(size, size, channels)


def check_size(size: tuple[int, int], expected: tuple[int, int] | None) -> None:
    """Raise BadImageError where (height, width) is not what the data set promises."""
    if expected is not None and tuple(size) != tuple(expected):
        raise BadImageError(f"{size[0]}x{size[1]} pixels, this data set's images are {expected[0]}x{expected[1]}")


def read_bytes(path: Path) -> bytes:
    """The file's content; its kind is checked first, because reading a pipe would wait for ever.

    Raises:
        BadImageError: The file is missing, empty, enormous, unreadable or no file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadImageError("not a file")
        if status.st_size == 0:
            raise BadImageError("empty file (0 bytes)")
        if status.st_size > MAX_BYTES:
            raise BadImageError(f"{status.st_size / 1e6:.0f} MB, more than {MAX_BYTES // 10**6} MB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadImageError("file is missing") from error
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise BadImageError(f"no name of a file ({error})") from error


def _check_header(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(f"{height}x{width} pixels, more than {MAX_PIXELS // 10**6} megapixels: refused")
    if width * height == 0:
        raise BadImageError(f"{height}x{width} pixels: nothing to see")


def _decode(image: Image.Image, content: bytes) -> np.ndarray:
    plain_grey = image.format == "JPEG" and image.mode == "L" and not {"exif", "xmp"} & image.info.keys()
    closed = image.format == "JPEG" and content.endswith(END) and "progressive" not in image.info
    if plain_grey and closed:
        # The same libjpeg without Pillow's overhead: twice as fast on small faces. None is a damaged file: see below.
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is not None and pixels.shape == (image.height, image.width):
            return _whole(pixels, content)
    try:
        image.load()
        if closed and image.getpixel((image.width - 1, image.height - 1)) in (FILLER, (FILLER,) * 3):
            _whole(np.asarray(image), content)
        return _eight_bit(upright(image))
    except BadImageError:
        raise
    except Exception as error:  # as with the header: damaged data makes Pillow raise almost any kind
        raise BadImageError(f"truncated or damaged ({_first_line(error)})") from error


def _whole(pixels: np.ndarray, content: bytes) -> np.ndarray:
    """Pixels of a JPEG, refused where some of its rows are not in the file."""
    if lacks_rows(pixels, content):
        raise BadImageError("truncated: the file ends before its lower rows")
    return pixels


def _eight_bit(image: Image.Image) -> np.ndarray:
    """Pixels of a loaded image, uint8: (h, w) where it is stored in grey, else (h, w, 3)."""
    if image.mode.startswith("I;16"):
        # 65535 / 257 = 255: the whole 16-bit range lands on the whole 8-bit range.
        return np.round(np.asarray(image).astype(np.float32) / 257).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise BadImageError("32-bit pixels, expected 8 or 16 bits")
    mode = "L" if image.mode in ("L", "1", "LA") else "RGB"
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(ground, seen).convert(mode))
    return np.asarray(image.convert(mode))


def without_false_colour(pixels: np.ndarray) -> np.ndarray:
    """(h, w) where the three channels of an image are equal: a grey face saved in colour is the same face."""
    if pixels.ndim == 3 and (pixels[..., :1] == pixels[..., 1:]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
