"""What stands beside the pixels of an image file: how to turn them, and the file without the rest."""

import re
import struct
from collections.abc import Iterator

from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_TIFF_TAGS = {*range(254, 267), 273, 274, *range(277, 280), 284, 292, 293, 317, *range(320, 326), 338, 339, 347}


def upright(image: Image.Image) -> Image.Image:
    """A loaded image as it is to be seen, by EXIF or XMP; what cannot be understood turns nothing."""
    try:
        orientation = next((number for number in _orientations(image) if number in _TURNS), 1)
    except Exception:  # odd metadata makes Pillow raise almost any kind
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _orientations(image: Image.Image) -> Iterator[int]:
    """Every orientation that a file names."""
    yield image.getexif().get(ExifTags.Base.Orientation, 1)
    for name, value in image.info.items():
        if name in ("xmp", "XML:com.adobe.xmp") or (isinstance(name, str) and name.startswith("Raw profile type ")):
            block = value.encode(errors="replace") if isinstance(value, str) else value
            if name.startswith("Raw"):  # ImageMagick's: a name and a length above hexadecimal digits
                block = bytes.fromhex("".join(value.split("\n")[3:]))
            if found := _XMP.search(block):
                yield int(found[1])
            elif block.startswith(b"Exif\0\0"):
                exif = Image.Exif()
                exif.load(block)
                yield exif.get(ExifTags.Base.Orientation, 1)


def without_metadata(content: bytes) -> bytes:
    """An image file of which only what its pixels need is left; other kinds than PNG, JPEG and TIFF as they are."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return content[:8] + b"".join(_png_chunks(content))
        if content.startswith(b"\xff\xd8\xff"):
            return content[:2] + b"".join(_jpeg_segments(content))
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _bare_tiff(content)
    except (struct.error, IndexError):
        pass
    return content


def _png_chunks(content: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind in _PNG_CHUNKS:
            yield content[at : at + length + 12]
        at += length + 12


def _jpeg_segments(content: bytes) -> Iterator[bytes]:
    """All but comments and the applications' own segments; Adobe's tells what the colours are."""
    at = 2
    while content[at + 1] != 0xDA:  # from here on there are pixels
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        marker = content[at + 1]
        if marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            yield content[at:end]
        at = end
    yield content[at:]


def _bare_tiff(content: bytes) -> bytes:
    """The first picture's directory with the tags that its pixels need."""
    order = "<" if content[:1] == b"I" else ">"
    start = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, start)[0]
    entries = [content[start + 2 + 12 * number :][:12] for number in range(count)]
    kept = [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] in _TIFF_TAGS]
    directory = struct.pack(f"{order}H", len(kept)) + b"".join(kept) + bytes(4)
    return content[:start] + directory + content[start + len(directory) :]
