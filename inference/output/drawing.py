"""Answers drawn on a picture: boxes, names and bars for each face, as many of them as have room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.palette import EMOTION_COLOURS
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.inference.output.records import UNCERTAIN
from fer_hierarchy.inference.sources.video import check_folder, silence_opencv

SYNTHETIC_BANNERS = ("synthetic: the model learned from drawn faces", "synthetic model", "synthetic")
# How each kind of file is written; qualities where the difference to the original cannot be seen.
PICTURES = {
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 92),
    ".jpeg": (cv2.IMWRITE_JPEG_QUALITY, 92),
    ".png": (),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 90),
    ".bmp": (),
}

_LEAST_SIDE, _MOST_TIMES = 200, 8  # pixels; smaller pictures are enlarged, or no letter could be read
_LEAST_TEXT = 9  # pixels; smaller letters cannot be read
_FEW = 8  # faces in a picture up to which a gate's verdict stands alone; in a crowd it is one word too many
_INK, _BLACK, _WHITE, _DIM = (31, 41, 51), (10, 14, 18), (255, 255, 255), (188, 195, 202)
_UNSURE, _AMBER, _GROOVE = (228, 231, 235), (255, 209, 82), (66, 75, 84)
_GLASS = 0.8  # opacity of dark plates
_ROW = 1.34  # height of a row of text, in text sizes
_BAR = 4.6  # length of a full bar, in text sizes

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class FaceAnswer:
    """What is drawn of one face.

    Attributes:
        box: left, top, width, height in pixels of the picture.
        emotion: The answer, or `inference.output.records.UNCERTAIN`.
        probability: Of the likeliest emotion.
        emotions: Name -> probability of all emotions, in the order of the bars.
        groups: Name -> the gate's probability of all groups.
    """

    box: tuple[int, int, int, int]
    emotion: str
    probability: float
    emotions: Mapping[str, float]
    groups: Mapping[str, float]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "FaceAnswer":
        """Of one row, as `inference.output.records.face_record` makes it."""
        return cls(
            box=tuple(int(record[side]) for side in ("left", "top", "width", "height")),
            emotion=record["emotion"],
            probability=record["probability"],
            emotions=_named(record, "p_"),
            groups=_named(record, "gate_"),
        )


class Rect(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class _Label:
    """A name that has found its place."""

    rect: Rect
    text: str
    size: int


def annotated(
    picture: np.ndarray, faces: Sequence[FaceAnswer], *, synthetic: bool = False, headline: str | None = None
) -> np.ndarray:
    """Draw answers on a copy of a picture.

    Args:
        picture: uint8 (h, w) grey or (h, w, 3) RGB.
        faces: What is drawn of each face.
        synthetic: Whether the model learned from faces that a program drew; a banner says so.
        headline: A line at the bottom, as of a live window.

    Returns:
        (h, w, 3) uint8 RGB; enlarged where the picture is too small for letters.
    """
    canvas, times = _canvas(picture)
    boxes = [Rect(*(side * times for side in face.box)) for face in faces]
    size = text_size(canvas)
    taken = []
    if synthetic:
        taken.append(_banner(canvas, size))
    if headline:
        taken.append(_headline(canvas, headline, size))
    labels = _place_labels(canvas, faces, boxes, size, taken)
    taken += [label.rect for label in labels]
    for face, box, label in zip(faces, boxes, labels, strict=True):
        _draw_box(canvas, face, box, size)
        _draw_label(canvas, face, label)
    for face, box in zip(faces, boxes, strict=True):
        taken += _draw_details(canvas, face, box, size, _table([*taken, *boxes]), alone=len(faces) <= _FEW)
    return canvas


def text_size(picture: np.ndarray) -> int:
    """Height of letters in pixels that suits a picture: it grows with the shorter side, but more slowly."""
    return round(max(_LEAST_TEXT + 1, 10 + 0.018 * (min(picture.shape[:2]) - 200)))


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all; its suffix says how.

    Args:
        path: .jpg, .png, .webp or .bmp.
        picture: uint8 (h, w) grey or (h, w, 3) RGB.

    Raises:
        UserError: Another kind of file, or one that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURES:
        raise UserError(f"picture {path}: its name ends in {suffix or 'nothing'}; right is {', '.join(PICTURES)}")
    check_folder(path)
    pixels = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    silence_opencv()
    fine, content = cv2.imencode(suffix, pixels, PICTURES[suffix])
    if not fine:  # WebP, for one, takes no side above 16,383 pixels
        height, width = picture.shape[:2]
        raise UserError(f"picture {path}: {width}x{height} pixels cannot be written as {suffix}; try .png")
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _named(record: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): value
        for name, value in record.items()
        if name.startswith(prefix) and value is not None
    }


def _canvas(picture: np.ndarray) -> tuple[np.ndarray, int]:
    """A copy to draw on, RGB, and how many times it is enlarged."""
    colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture.copy()
    times = min(-(-_LEAST_SIDE // min(picture.shape[:2])), _MOST_TIMES)
    if times > 1:
        colour = cv2.resize(colour, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return colour, times


def _colour(face: FaceAnswer) -> Colour:
    return _UNSURE if face.emotion == UNCERTAIN else _rgb(EMOTION_COLOURS[face.emotion])


def _rgb(code: str) -> Colour:
    return tuple(bytes.fromhex(code.removeprefix("#")))


def _draw_box(canvas: np.ndarray, face: FaceAnswer, box: Rect, size: int) -> None:
    """A frame in the answer's colour with a dark rim, which keeps it visible on any ground."""
    thick = max(1, round(min(size, box.width / 5) / 6))
    corners = (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)
    cv2.rectangle(canvas, *corners, _INK, thick + max(2, 2 * (thick // 2)))
    cv2.rectangle(canvas, *corners, _colour(face), thick)


def _place_labels(
    canvas: np.ndarray, faces: Sequence[FaceAnswer], boxes: Sequence[Rect], size: int, taken: Sequence[Rect]
) -> list[_Label]:
    """A place for each name where it covers no other name, and no other face if that can be had."""
    labels: list[_Label] = []
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        others = np.delete(_table(boxes), number, axis=0)
        names = _table([*taken, *(label.rect for label in labels)])
        best, least = None, float("inf")
        for label in _label_choices(canvas, face, box, size):
            # A covered name is lost, a covered piece of a face is not.
            cost = 10 * _covered(label.rect, names) + _covered(label.rect, others)
            if cost < least:
                best, least = label, cost
            if not cost:
                break
        labels.append(best)
    return labels


def _label_choices(canvas: np.ndarray, face: FaceAnswer, box: Rect, size: int) -> Iterator[_Label]:
    """Places for a name from the best to the worst: above, below, inside; letters as large as the face bears."""
    small = max(_LEAST_TEXT, round(0.55 * size))
    largest = int(np.clip(box.width / 5, small, size))
    whole = _label_text(face)
    for text, text_height in ((whole, largest), (whole, small), (whole.split()[0], small)):
        width = _text_width(text, text_height) + round(0.9 * text_height)
        height = round(1.45 * text_height)
        below = box.top + box.height
        for top in (box.top - height, below, box.top, below - height):
            if 0 <= top <= canvas.shape[0] - height:
                left = int(np.clip(box.left, 0, max(canvas.shape[1] - width, 0)))
                yield _Label(rect=Rect(left, top, width, height), text=text, size=text_height)
    yield _Label(rect=_inside(Rect(box.left, box.top, width, height), canvas), text=text, size=text_height)


def _label_text(face: FaceAnswer) -> str:
    return UNCERTAIN if face.emotion == UNCERTAIN else f"{face.emotion} {_percent(face.probability)}"


def _draw_label(canvas: np.ndarray, face: FaceAnswer, label: _Label) -> None:
    colour = _colour(face)
    _plate(canvas, label.rect, colour, radius=round(0.3 * label.size))
    middle = label.rect.top + label.rect.height / 2
    _write(canvas, label.text, label.rect.left + round(0.45 * label.size), middle, label.size, _readable_on(colour))


def _draw_details(
    canvas: np.ndarray, face: FaceAnswer, box: Rect, size: int, taken: np.ndarray, *, alone: bool
) -> list[Rect]:
    """Bars beside the face, or the gate's verdict alone, or nothing: whatever has room; gives what it took."""
    for letters in dict.fromkeys(max(_LEAST_TEXT, round(share * size)) for share in (1, 0.82, 0.66)):
        width, height = _panel_size(face, letters)
        for rect in _beside(box, width, height, canvas, gap=round(0.4 * letters)):
            if not _covered(rect, taken):
                _draw_panel(canvas, face, rect, letters)
                return [rect]
    return _draw_verdict(canvas, face, box, size, taken) if alone else []


def _beside(box: Rect, width: int, height: int, canvas: np.ndarray, *, gap: int) -> Iterator[Rect]:
    """Places right, left, below and above a face that lie whole in the picture."""
    high, wide = canvas.shape[:2]
    if width > wide or height > high:
        return
    top = int(np.clip(box.top, 0, high - height))
    left = int(np.clip(box.left, 0, wide - width))
    places = (
        (box.left + box.width + gap, top),
        (box.left - width - gap, top),
        (left, box.top + box.height + gap),
        (left, box.top - height - gap),
    )
    for column, row in places:
        if 0 <= column <= wide - width and 0 <= row <= high - height:
            yield Rect(column, row, width, height)


def _panel_size(face: FaceAnswer, size: int) -> tuple[int, int]:
    """Width and height of the bars with their names, in pixels."""
    names, numbers = _columns(face, size)
    rows = len(face.groups) + len(face.emotions)
    width = names + _BAR * size + numbers + 2.4 * size
    return round(width), round((rows + 0.5) * _ROW * size + size)


def _columns(face: FaceAnswer, size: int) -> tuple[int, int]:
    """Widths of the columns of names and of numbers."""
    names = max(_text_width(name, size) for name in (*face.groups, *face.emotions))
    return names, _text_width(_percent(1), size)


def _draw_panel(canvas: np.ndarray, face: FaceAnswer, rect: Rect, size: int) -> None:
    """The gate's groups and all emotions, a row each."""
    _plate(canvas, rect, _INK, opacity=_GLASS, radius=round(0.5 * size))
    names, _ = _columns(face, size)
    middle = rect.top + (0.5 + _ROW / 2) * size
    for values, colours in ((face.groups, {}), (face.emotions, EMOTION_COLOURS)):
        likeliest = max(values, key=values.get)
        for name, share in values.items():
            ink = _WHITE if name == likeliest else _DIM
            bar = _rgb(colours[name]) if name in colours else _UNSURE
            _draw_row(canvas, rect, name, share, names=names, middle=middle, size=size, ink=ink, bar=bar)
            middle += _ROW * size
        middle += 0.5 * _ROW * size


def _draw_row(
    canvas: np.ndarray,
    panel: Rect,
    name: str,
    share: float,
    *,
    names: int,
    middle: float,
    size: int,
    ink: Colour,
    bar: Colour,
) -> None:
    """One name, its bar and its number."""
    left = panel.left + round(0.7 * size)
    _write(canvas, name, left, middle, size, ink)
    top, height = round(middle - size / 4), max(2, size // 2)
    start, full = left + names + round(0.5 * size), round(_BAR * size)
    canvas[top : top + height, start : start + full] = _GROOVE
    canvas[top : top + height, start : start + round(share * full)] = bar
    number = _percent(share)
    right = panel.left + panel.width - round(0.7 * size)
    _write(canvas, number, right - _text_width(number, size), middle, size, ink)


def _draw_verdict(canvas: np.ndarray, face: FaceAnswer, box: Rect, size: int, taken: np.ndarray) -> list[Rect]:
    """The gate's verdict on a small plate below or above the face."""
    group = max(face.groups, key=face.groups.get)
    text = f"{group} {_percent(face.groups[group])}"
    letters = int(np.clip(box.width / 6, max(_LEAST_TEXT, round(0.5 * size)), size))
    width, height = _text_width(text, letters) + round(0.9 * letters), round(1.45 * letters)
    left = int(np.clip(box.left, 0, max(canvas.shape[1] - width, 0)))
    for top in (box.top + box.height, box.top - height):
        rect = Rect(left, top, width, height)
        if 0 <= top <= canvas.shape[0] - height and not _covered(rect, taken):
            _plate(canvas, rect, _INK, opacity=_GLASS, radius=round(0.3 * letters))
            _write(canvas, text, left + round(0.45 * letters), top + height / 2, letters, _WHITE)
            return [rect]
    return []


def _banner(canvas: np.ndarray, size: int) -> Rect:
    """Says at the top that the model is synthetic, in as many words as fit."""
    room = canvas.shape[1] - 2 * size
    text = next((words for words in SYNTHETIC_BANNERS if _text_width(words, size) < room), SYNTHETIC_BANNERS[-1])
    return _strip(canvas, text, size, top=round(0.4 * size), ground=_AMBER, opacity=1.0, ink=_BLACK)


def _headline(canvas: np.ndarray, text: str, size: int) -> Rect:
    top = canvas.shape[0] - round(1.9 * size)
    return _strip(canvas, text, size, top=top, ground=_INK, opacity=_GLASS, ink=_WHITE)


def _strip(canvas: np.ndarray, text: str, size: int, *, top: int, ground: Colour, opacity: float, ink: Colour) -> Rect:
    left = round(0.4 * size)
    rect = Rect(left, top, _text_width(text, size) + size, round(1.5 * size))
    _plate(canvas, rect, ground, opacity=opacity, radius=round(0.35 * size))
    _write(canvas, text, left + size // 2, top + rect.height / 2, size, ink)
    return rect


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _readable_on(ground: Colour) -> Colour:
    """Dark or white letters, whichever stand out more (luminance as WCAG 2 weighs it)."""
    linear = (np.array(ground) / 255) ** 2.2
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return _BLACK if (luminance + 0.05) / 0.055 > 1.05 / (luminance + 0.05) else _WHITE


def _covered(rect: Rect, others: np.ndarray) -> int:
    """Pixels of `rect` that others (n, 4) cover, each counted by itself."""
    starts = np.maximum(others[:, :2], rect[:2])
    ends = np.minimum(others[:, :2] + others[:, 2:], (rect.left + rect.width, rect.top + rect.height))
    return int(np.clip(ends - starts, 0, None).prod(axis=1).sum())


def _table(rects: Sequence[Rect]) -> np.ndarray:
    """(n, 4) int64, n may be 0."""
    return np.array(rects, np.int64).reshape(-1, 4)


def _inside(rect: Rect, canvas: np.ndarray) -> Rect:
    """The rectangle pushed into the picture."""
    height, width = canvas.shape[:2]
    left = int(np.clip(rect.left, 0, max(width - rect.width, 0)))
    return rect._replace(left=left, top=int(np.clip(rect.top, 0, max(height - rect.height, 0))))


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # Aileron, which is inside Pillow


@lru_cache(maxsize=2048)
def _text_width(text: str, size: int) -> int:
    return round(_font(size).getlength(text))


class _Stamp(NamedTuple):
    """A colour ready to be laid over a picture: `(ground * keep + add) >> 8`, both (h, w, 3) uint16."""

    keep: np.ndarray
    add: np.ndarray


def _stamp(cover: Image.Image, colour: Colour, opacity: float = 1.0) -> _Stamp:
    share = np.round(np.asarray(cover) * (opacity * 256 / 255)).astype(np.uint16)  # 0 to 256
    share = np.repeat(share[..., None], 3, axis=2)
    return _Stamp(256 - share, share * np.array(colour, np.uint16))  # at most 256 * 255, which uint16 holds


@lru_cache(maxsize=512)
def _letters(text: str, size: int, colour: Colour) -> _Stamp:
    """A line of text whose capitals stand in the middle of its height."""
    font = _font(size)
    capitals = -font.getbbox("H", anchor="ls")[1]
    height = 2 * size + capitals % 2
    image = Image.new("L", (_text_width(text, size) + 2, height))
    ImageDraw.Draw(image).text((1, (height + capitals) // 2), text, fill=255, font=font, anchor="ls")
    return _stamp(image, colour)


@lru_cache(maxsize=32)  # a large one takes megabytes
def _rounded(width: int, height: int, radius: int, colour: Colour, opacity: float) -> _Stamp:
    """A plate with round corners."""
    image = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(image).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), 4 * radius, fill=255)
    return _stamp(image.reduce(4), colour, opacity)


def _plate(canvas: np.ndarray, rect: Rect, colour: Colour, *, radius: int, opacity: float = 1.0) -> None:
    _press(canvas, _rounded(rect.width, rect.height, radius, colour, opacity), rect.left, rect.top)


def _write(canvas: np.ndarray, text: str, left: int, middle: float, size: int, colour: Colour) -> None:
    """Write a line of text whose capitals are centred on the row `middle`."""
    stamp = _letters(text, size, colour)
    _press(canvas, stamp, left - 1, round(middle - stamp.keep.shape[0] / 2))


def _press(canvas: np.ndarray, stamp: _Stamp, left: int, top: int) -> None:
    """Lay a stamp over the canvas; what lies outside is cut off."""
    rows = slice(max(top, 0), min(top + stamp.keep.shape[0], canvas.shape[0]))
    columns = slice(max(left, 0), min(left + stamp.keep.shape[1], canvas.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    mixed = canvas[rows, columns] * stamp.keep[part]
    mixed += stamp.add[part]
    mixed >>= 8
    canvas[rows, columns] = mixed
