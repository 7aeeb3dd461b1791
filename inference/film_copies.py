"""Copies of a film with all its frames: its predictions drawn, its faces blurred, or both."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from fer_hierarchy.hierarchy.progress import current
from fer_hierarchy.inference.blurring import Blurring
from fer_hierarchy.inference.faces.tracking import Box, SceneCuts, Tracker
from fer_hierarchy.inference.output.blur import blurred
from fer_hierarchy.inference.output.drawing import annotated
from fer_hierarchy.inference.output.film import VideoWriter
from fer_hierarchy.inference.output.records import BOX, Row
from fer_hierarchy.inference.output.rows import POINTS
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.sources.video import ROUNDING, Frame, VideoReader

_BATCH = 8  # frames that are searched together
_PAUSE = 60.0  # seconds between two frames that only a broken time stamp explains
_LINGER = 0.5  # seconds for which a face that is not found any more is believed to be where it was
_AROUND = 0.5  # seconds before a face is found and after, for which its place is blurred as well
_OFTEN, _DENSE = 3, 0.25  # frames, and share of all from the first to the last, in which a face is found at least
_WIDER = 0.25  # share of its sides by which a box is widened there and in between, at each side


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One frame that was predicted: its seconds, and a row a face by the model that is drawn."""

    time: float
    rows: Sequence[Row]


def copy_film(
    item: Item,
    samples: Sequence[Sample],
    *,
    drawn: Path | None = None,
    blurring: Blurring | None = None,
    synthetic: bool = False,
) -> None:
    """Write the copies of a film.

    Args:
        item: The film.
        samples: Its frames that were predicted, by time.
        drawn: Where the copy with predictions goes; its faces are blurred where there is a blurred copy.
        blurring: Where the copy with blurred faces goes, and what finds those.
        synthetic: Whether the model was trained on faces that a program drew.

    Raises:
        UserError: A copy cannot be written.
    """
    hidden = boxes_of_every_frame(item.path, blurring) if blurring else []
    shown, cuts, scene = _Shown(samples), SceneCuts(), 0.0
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(item.path))
        drawing, hiding = (
            place and stack.enter_context(VideoWriter(place, fps=reader.fps, pause=_PAUSE, original=item.path))
            for place in (drawn, blurring and blurring.place(item))
        )
        for frame in _counted(reader, "copied frames"):
            picture, scene = frame.picture, frame.time if cuts.at(frame.picture) else scene
            rows = shown.at(frame.time, scene)
            if hiding:
                hidden[frame.index] += [_box(row) for row in rows]
                picture = blurred(picture, hidden[frame.index])
                hiding.write(picture, frame.time)
            if drawing:
                drawing.write(annotated(picture, rows, synthetic=synthetic), frame.time)
    if blurring:
        blurring.count_film(frames=len(hidden), blurred=sum(map(bool, hidden)))


def _counted(reader: VideoReader, what: str) -> Iterator[Frame]:
    """The frames of a film, counted on the screen."""
    for frame in reader:
        current().advance(1, f"{what} of {Path(reader.source).name}")
        yield frame


def _box(row: Row) -> Box:
    left, top, width, height = (float(row[side]) for side in BOX)
    return left, top, width, height


class _Shown:
    """What is drawn between two samples: the predictions of the first, in boxes on their way to the second."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._times = [sample.time for sample in samples]

    def at(self, time: float, scene: float) -> list[Row]:
        """The rows of a moment, without those of samples before the scene began."""
        place = bisect_right(self._times, time + ROUNDING) - 1
        if place < 0 or self._times[place] + ROUNDING < scene:
            return []
        now, later = self._samples[place], self._samples[place + 1 : place + 2]
        ends = {row["track"]: row for sample in later for row in sample.rows}
        share = (time - now.time) / (later[0].time - now.time) if later else 0.0
        lingers = time - now.time <= _LINGER
        return [_between(row, ends.get(row["track"]), share) for row in now.rows if lingers or row["track"] in ends]


def _between(row: Row, end: Row | None, share: float) -> Row:
    """A row whose box has gone a share of its way."""
    if end is None:
        return row
    box = {side: round(row[side] + share * (end[side] - row[side])) for side in BOX}
    first, last = row.get(POINTS), end.get(POINTS)
    points = None if first is None or last is None else (1 - share) * first + share * last
    return {**row, **box, POINTS: points}


def boxes_of_every_frame(path: Path, blurring: Blurring) -> list[list[Box]]:
    """The boxes that hide all faces of each frame of a film.

    A face that is missed in between, or for a moment before and after, is hidden where it must have been, in a wider
    box; not across a cut.

    Args:
        path: The film.
        blurring: Finds the faces, in all frames.
    """
    found: dict[int, dict[int, Box]] = {}  # track -> frame -> box
    scenes, frames = [0], 0
    with VideoReader(path) as reader:
        around = max(round(_AROUND * reader.fps), 1)
        tracker = Tracker(lost_after=2 * around)
        source = _counted(reader, "searched frames")
        while batch := list(islice(source, _BATCH)):
            searched = blurring.finder.find([frame.picture for frame in batch])
            for frame, faces in zip(batch, searched, strict=True):
                frames = frame.index + 1
                if tracker.end_scene(frame.picture):
                    scenes.append(frame.index)
                sure = [face for face in faces if blurring.is_sure(face)]
                for track in tracker.update(sure, time=frame.time, picture=frame.picture)[: len(sure)]:
                    found.setdefault(track.number, {})[frame.index] = track.box
    boxes: list[list[Box]] = [[] for _ in range(frames)]
    for seen in found.values():
        scene = bisect_right(scenes, next(iter(seen)))
        limits = scenes[scene - 1], scenes[scene] if scene < len(scenes) else frames
        for index, box in _filled(seen, around, limits) if _is_steady(seen) else seen.items():
            boxes[index].append(box)
    return boxes


def _is_steady(seen: dict[int, Box]) -> bool:
    """Whether a track is a face all the time, and not now and then something that looks like one."""
    first, *_, last = (*seen, *seen)
    return len(seen) >= _OFTEN and len(seen) >= _DENSE * (last - first + 1)


def _filled(seen: dict[int, Box], around: int, limits: tuple[int, int]) -> Iterator[tuple[int, Box]]:
    """The frames of a track with its box, those in between and `around` it as well, within the limits of its scene."""
    places = list(seen)
    every = np.arange(max(places[0] - around, limits[0]), min(places[-1] + around + 1, limits[1]))
    sides = np.array(list(seen.values())).T
    left, top, width, height = (np.interp(every, places, side) for side in sides)
    wider = np.where(np.isin(every, places), 0.0, _WIDER)
    widened = (left - wider * width, top - wider * height, width * (1 + 2 * wider), height * (1 + 2 * wider))
    for index, *box in zip(every.tolist(), *(side.tolist() for side in widened), strict=True):
        yield index, (box[0], box[1], box[2], box[3])
