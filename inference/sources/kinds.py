"""Whether a file is a picture, a video or neither, by what it begins with."""

import stat
from pathlib import Path

PICTURE, VIDEO, TEXT = "picture", "video", "text"
# Containers of videos hold sound alone under these names.
SOUNDS = (".m4a", ".m4b", ".aac", ".mka", ".wma", ".ogg", ".oga", ".opus", ".weba", ".mp3", ".wav", ".flac")

_HEAD = 512  # bytes; two packets of a transport stream
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")
_VIDEOS = (
    *(b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"OggS", b".RMF", b"YUV4MPEG2", b"DKIF"),
    *(b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\0\0\x01\xb0", b"\x06\x0e\x2b\x34", b"\0\0\0\0\x01\xbc", b"\x1f\x07\0"),
    *(b"\0\0\x01\x67", b"\0\0\0\x01\x67", b"\0\0\0\x01\x09", b"\0\0\0\x01\x40", b"\0\0\0\x01\x46", b"\x12\0\n"),
    *(b"nut/multimedia", b"\xb7\xd8\0 7I\xda\x11", b"\0\nSMJPEG"),
)
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # an MP4 or QuickTime file begins with one
_STILL = (b"hei", b"hev", b"mif1", b"msf1", b"avi")  # brands of such files that are photographs
_UNREAD = (b"jxl", b"crx")  # and of photographs that nothing here reads
_JPEGS = (".mjpeg", ".mjpg")  # a film may be one JPEG after the other: only its name tells
_PACKETS = ((0, 188), (4, 196), (0, 204))  # where the first two packets of a transport stream begin
_LISTS = (b"#EXTM3U", b"ffconcat", b"v=0", b"<")  # of films elsewhere, whatever follows
_WORD = 16  # so few bytes may be anything
_NO_TEXT = set(range(32)) - set(b"\t\n\r\f\x1b")


def kind_of(path: Path) -> str | None:
    """`PICTURE`, `VIDEO` or `TEXT`; None for everything else, and for what cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return None
    return VIDEO if path.name.lower().endswith(_JPEGS) and head.startswith(_PICTURES[0]) else kind_of_content(head)


def kind_of_content(head: bytes) -> str | None:
    """The same by the first bytes, 512 or more."""
    if head.startswith(_PICTURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return PICTURE
    if head.startswith(_VIDEOS) or (head[:4] == b"RIFF" and head[8:11] == b"AVI") or _is_stream(head):
        return VIDEO
    if head[4:8] in _ATOMS:
        brand = head[8:12] if head[4:8] == b"ftyp" else b""
        return PICTURE if brand.startswith(_STILL) else None if brand.startswith(_UNREAD) else VIDEO
    return TEXT if head.lstrip().startswith(_LISTS) or (len(head) > _WORD and not set(head) & _NO_TEXT) else None


def _is_stream(head: bytes) -> bool:
    """Whether these bytes begin an MPEG transport stream, of a broadcast or of a camera."""
    return any(len(head) > second and head[first] == head[second] == 0x47 for first, second in _PACKETS)
