"""Predictions drawn on a picture: boxes, names and bars for each face, as many of them as have room."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.palette import class_colour
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.inference.output.film import check_folder
from fer_hierarchy.inference.output.mesh_drawing import draw_mesh
from fer_hierarchy.inference.output.records import BOX, UNCERTAIN
from fer_hierarchy.inference.output.rows import POINTS
from fer_hierarchy.inference.sources.video import silence_opencv

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
_FEW = 8  # faces in a picture up to which the gate's group is drawn without bars; in a crowd it is one word too many
_INK, _BLACK, _WHITE, _DIM = (31, 41, 51), (10, 14, 18), (255, 255, 255), (188, 195, 202)
_UNSURE, _AMBER, _GROOVE = (228, 231, 235), (255, 209, 82), (66, 75, 84)
_GLASS = 0.8  # opacity of dark plates
_ROW = 1.34  # height of a row of text, in text sizes
_BAR = 4.6  # length of a full bar, in text sizes

Colour = tuple[int, int, int]


class Rect(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


class _Face(NamedTuple):
    """What is drawn of one face.

    Attributes:
        box: In pixels of the canvas.
        label: The emotion with its probability, `UNCERTAIN`, or the group or "any" that is guaranteed instead.
        colour: Of the emotion.
        groups: Name -> the gate's probability of all groups.
        emotions: Name -> probability of all emotions, in the order of the bars.
        points: (468, 3) in pixels of the canvas; None where they are unknown.
    """

    box: Rect
    label: str
    colour: Colour
    groups: dict[str, float]
    emotions: dict[str, float]
    points: np.ndarray | None

    @classmethod
    def of(cls, row: Mapping[str, Any], times: int) -> "_Face":
        """Of one row, on a canvas so many times as large as the picture."""
        emotion, answer, points = row["emotion"], row.get("answer"), row.get(POINTS)
        sure = emotion != UNCERTAIN and answer in (None, emotion)
        unsure = answer if answer and emotion != UNCERTAIN else UNCERTAIN
        return cls(
            box=Rect(*(int(row[side]) * times for side in BOX)),
            label=f"{emotion} {_percent(row['probability'])}" if sure else unsure,
            colour=_rgb(class_colour(emotion)) if sure else _UNSURE,
            groups=_named(row, "gate_"),
            emotions=_named(row, "p_"),
            points=None if points is None else (points + 0.5) * times - 0.5,
        )


class _Label(NamedTuple):
    """A name that has found its place."""

    rect: Rect
    text: str
    size: int


def annotated(
    picture: np.ndarray, rows: Sequence[Mapping[str, Any]], *, synthetic: bool = False, headline: str | None = None
) -> np.ndarray:
    """Draw predictions on a copy of a picture.

    Args:
        picture: uint8 (h, w) grey or (h, w, 3) RGB.
        rows: One a face, as `inference.output.records.face_rows` gives them.
        synthetic: Whether the model was trained on faces that a program drew; a banner tells that.
        headline: A line at the bottom, as of a live window.

    Returns:
        (h, w, 3) uint8 RGB; enlarged where the picture is too small for letters.
    """
    canvas, times = _canvas(picture)
    faces = [_Face.of(row, times) for row in rows]
    boxes = [face.box for face in faces]
    size = text_size(canvas)
    taken = []
    if synthetic:
        banner = _banner(canvas, size)
        taken.append(_strip(canvas, banner, size, top=round(0.4 * size), ground=_AMBER, ink=_BLACK))
    if headline:
        bottom = canvas.shape[0] - round(1.9 * size)
        taken.append(_strip(canvas, headline, size, top=bottom, ground=_INK, ink=_WHITE, opacity=_GLASS))
    for face in faces:
        if face.points is not None:
            draw_mesh(canvas, face.points)
    labels = _place_labels(canvas, faces, size, taken)
    taken += [label.rect for label in labels]
    for face, label in zip(faces, labels, strict=True):
        _draw_box(canvas, face, size)
        _draw_plate(canvas, label, face.colour, _readable_on(face.colour))
    for face in faces:
        taken += _draw_details(canvas, face, size, _table([*taken, *boxes]), alone=len(faces) <= _FEW)
    return canvas


def text_size(picture: np.ndarray) -> int:
    """Height of letters in pixels that suits a picture: it grows with the shorter side, but more slowly."""
    return round(max(_LEAST_TEXT + 1, 10 + 0.018 * (min(picture.shape[:2]) - 200)))


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, completely or not at all; its suffix decides the format.

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
        temporary.write_bytes(content.tobytes())


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


def _rgb(code: str) -> Colour:
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return red, green, blue


def _draw_box(canvas: np.ndarray, face: _Face, size: int) -> None:
    """A frame in the emotion's colour with a dark rim, which keeps it visible on any ground."""
    box = face.box
    thick = max(1, round(min(size, box.width / 5) / 6))
    corners = (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)
    cv2.rectangle(canvas, *corners, _INK, thick + max(2, 2 * (thick // 2)))
    cv2.rectangle(canvas, *corners, face.colour, thick)


def _place_labels(canvas: np.ndarray, faces: Sequence[_Face], size: int, taken: Sequence[Rect]) -> list[_Label]:
    """A place for each name where it covers no other name, and no other face if that can be had."""
    labels: list[_Label] = []
    boxes = _table([face.box for face in faces])
    for number, face in enumerate(faces):
        others = np.delete(boxes, number, axis=0)
        names = _table([*taken, *(label.rect for label in labels)])
        least = math.inf
        for label in _label_choices(canvas, face, size):
            # A covered name is lost, a covered piece of a face is not.
            cost = 10 * _covered(label.rect, names) + _covered(label.rect, others)
            if cost < least:
                best, least = label, cost
            if not cost:
                break
        labels.append(best)
    return labels


def _label_choices(canvas: np.ndarray, face: _Face, size: int) -> Iterator[_Label]:
    """Places for a name from the best to the worst: above, below, inside; letters as large as the face bears."""
    box, small = face.box, max(_LEAST_TEXT, round(0.55 * size))
    largest = int(np.clip(box.width / 5, small, size))
    below = box.top + box.height
    for text, letters in ((face.label, largest), (face.label, small), (face.label.split()[0], small)):
        width, height = _plate_size(text, letters)
        for top in (box.top - height, below, box.top, below - height):
            if 0 <= top <= canvas.shape[0] - height:
                yield _Label(_inside(Rect(box.left, top, width, height), canvas), text, letters)
    yield _Label(_inside(Rect(box.left, box.top, width, height), canvas), text, letters)


def _plate_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of a plate that holds a text."""
    return _text_width(text, size) + round(0.9 * size), round(1.45 * size)


def _draw_plate(canvas: np.ndarray, label: _Label, ground: Colour, ink: Colour, *, opacity: float = 1.0) -> None:
    rect, size = label.rect, label.size
    _plate(canvas, rect, ground, opacity=opacity, radius=round(0.3 * size))
    _write(canvas, label.text, rect.left + round(0.45 * size), rect.top + rect.height / 2, size, ink)


def _draw_details(canvas: np.ndarray, face: _Face, size: int, taken: np.ndarray, *, alone: bool) -> list[Rect]:
    """Bars beside the face, or the gate's group alone, or nothing: whatever has room; gives what it took."""
    for letters in dict.fromkeys(max(_LEAST_TEXT, round(share * size)) for share in (1, 0.82, 0.66)):
        width, height = _panel_size(face, letters)
        for rect in _beside(face.box, width, height, canvas, gap=round(0.4 * letters)):
            if not _covered(rect, taken):
                _draw_panel(canvas, face, rect, letters)
                return [rect]
    return _draw_verdict(canvas, face, size, taken) if alone else []


def _beside(box: Rect, width: int, height: int, canvas: np.ndarray, *, gap: int) -> Iterator[Rect]:
    """Places right, left, below and above a face that are inside the picture."""
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


def _panel_size(face: _Face, size: int) -> tuple[int, int]:
    """Width and height of the bars with their names, in pixels."""
    names, numbers = _columns(face, size)
    rows = len(face.groups) + len(face.emotions)
    width = names + _BAR * size + numbers + 2.4 * size
    return round(width), round((rows + 0.5) * _ROW * size + size)


def _columns(face: _Face, size: int) -> tuple[int, int]:
    """Widths of the columns of names and of numbers."""
    names = max(_text_width(name, size) for name in (*face.groups, *face.emotions))
    return names, _text_width(_percent(1), size)


def _draw_panel(canvas: np.ndarray, face: _Face, rect: Rect, size: int) -> None:
    """The gate's groups and all emotions, a row each: name, bar and number."""
    _plate(canvas, rect, _INK, opacity=_GLASS, radius=round(0.5 * size))
    left, right = rect.left + round(0.7 * size), rect.left + rect.width - round(0.7 * size)
    start, full = left + _columns(face, size)[0] + round(0.5 * size), round(_BAR * size)
    middle = rect.top + (0.5 + _ROW / 2) * size
    for values in (face.groups, face.emotions):
        likeliest = max(values, key=values.__getitem__)
        for name, share in values.items():
            ink, number = _WHITE if name == likeliest else _DIM, _percent(share)
            _write(canvas, name, left, middle, size, ink)
            _write(canvas, number, right - _text_width(number, size), middle, size, ink)
            top = round(middle - size / 4)
            rows = slice(top, top + max(2, size // 2))
            canvas[rows, start : start + full] = _GROOVE
            canvas[rows, start : start + round(share * full)] = (
                _rgb(class_colour(name)) if values is face.emotions else _UNSURE
            )
            middle += _ROW * size
        middle += 0.5 * _ROW * size


def _draw_verdict(canvas: np.ndarray, face: _Face, size: int, taken: np.ndarray) -> list[Rect]:
    """The gate's likeliest group on a small plate below or above the face."""
    box, group = face.box, max(face.groups, key=face.groups.__getitem__)
    text = f"{group} {_percent(face.groups[group])}"
    letters = int(np.clip(box.width / 6, max(_LEAST_TEXT, round(0.5 * size)), size))
    width, height = _plate_size(text, letters)
    left = int(np.clip(box.left, 0, max(canvas.shape[1] - width, 0)))
    for top in (box.top + box.height, box.top - height):
        rect = Rect(left, top, width, height)
        if 0 <= top <= canvas.shape[0] - height and not _covered(rect, taken):
            _draw_plate(canvas, _Label(rect, text, letters), _INK, _WHITE, opacity=_GLASS)
            return [rect]
    return []


def _banner(canvas: np.ndarray, size: int) -> str:
    """Tells that the model is synthetic, in as many words as fit."""
    room = canvas.shape[1] - 2 * size
    return next((words for words in SYNTHETIC_BANNERS if _text_width(words, size) < room), SYNTHETIC_BANNERS[-1])


def _strip(
    canvas: np.ndarray, text: str, size: int, *, top: int, ground: Colour, ink: Colour, opacity: float = 1.0
) -> Rect:
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
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
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
    capitals = -round(font.getbbox("H", anchor="ls")[1])
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
