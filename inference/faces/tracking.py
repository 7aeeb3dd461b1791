"""Faces over the frames of a video: which is which, where it has moved to, and its predictions without flicker."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:  # boxes are moved here, whatever finds them
    from fer_hierarchy.inference.faces.crop import Face

_FLOW_SIDE = 960  # pixels of the longer side at which motion is measured; more costs time and shows no more
_INNER = 0.8  # share of a box's sides that is surely face: what moves behind it must not pull at the box
_POINTS, _FEWEST = 32, 6  # that are followed in a face, and that must be found again
# Pixels by which a point may miss its start on the way back (Kalal et al., "Forward-Backward Error", 2010).
_ASTRAY = 1.0
_GROWTH = 1.25  # the most that a face grows or shrinks between two frames
_VIEW, _MOVE = 32, 5  # pixels of a frame made tiny, and how far the next one may have moved against it
_ALIKE = 0.6  # correlation from which two frames show one scene
_REACH, _RESIZED = 3.0, 1.5  # widths that a face goes between two detections at most, and how much it changes in size
# Pixels of a face made tiny, how far boxes may differ, and the correlation from which it is one person. In CK+48, faces
# shifted, turned and scaled a little, 91 % of 327 pairs from one sequence have it, and 15 % of 971 from two persons.
_FACE_VIEW, _FACE_MOVE, _LIKE = 16, 2, 0.75
_PLAIN = 2.0  # grey levels of standard deviation
_LUCAS_KANADE: dict[str, Any] = {
    "winSize": (15, 15),
    "maxLevel": 3,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 0.03),
}

Box = tuple[float, float, float, float]  # left, top, width, height


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One person's face at one moment.

    Attributes:
        number: Its identity, from 1; never given to another.
        face: Where it is; without a score where it was not found but followed.
        seen: Seconds of the video at which it was last found.
        missed: Detections in a row that have not found it.
        box: As `face.box`, in fractions of pixels, so that rounding does not add up, and beyond the picture's edges.
        view: (16, 16) float32, the face made tiny, as it was last found; None where nobody knows.
    """

    number: int
    face: "Face"
    seen: float
    missed: int
    box: Box
    view: np.ndarray | None = None


class SceneCuts:
    """Finds the frames that show another scene than the frame before."""

    def __init__(self) -> None:
        self._view: np.ndarray | None = None  # the frame before, tiny

    def at(self, picture: np.ndarray) -> bool:
        """Whether a scene begins with this frame, (h, w) or (h, w, 3) uint8; call it for every frame."""
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        view = cv2.resize(grey, (_VIEW, _VIEW), interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._view = self._view, view
        return before is not None and not _same_scene(before, view)


class Tracker:
    """Keeps faces apart: matches what is found by overlap, else by looks, follows it in between by optical flow.

    Args:
        overlap: Intersection over union from which two boxes can be the same face.
        lost_after: Detections in a row after which a face that was not found is dropped.
    """

    def __init__(self, *, overlap: float = 0.2, lost_after: int = 3) -> None:
        self.overlap = overlap
        self.lost_after = lost_after
        self.tracks: list[Track] = []
        self._given = 0
        self._previous: np.ndarray | None = None  # (h, w) uint8, the frame before, made smaller
        self._cuts = SceneCuts()

    def end_scene(self, picture: np.ndarray) -> bool:
        """Drop all faces where a frame shows another scene than the frame before: after a cut, nobody is who was there.

        Args:
            picture: (h, w) or (h, w, 3) uint8, this frame; call it for every frame.

        Returns:
            Whether it was so.
        """
        cut = self._cuts.at(picture)
        if cut:
            self.tracks, self._previous = [], None
        return cut

    def update(self, faces: "Sequence[Face]", *, time: float = 0.0, picture: np.ndarray | None = None) -> list[Track]:
        """Match the faces of a frame that was searched.

        Args:
            faces: Those found.
            time: Seconds of the frame.
            picture: (h, w) or (h, w, 3) uint8, the frame. By it a face that has moved further than it is wide is known
                again.

        Returns:
            All that were not dropped: those found in the order of `faces`, then the missed ones where they were.
        """
        views = [_face_view(picture, face) for face in faces]
        known = _matches(overlaps([track.box for track in self.tracks], [face.box for face in faces]), self.overlap)
        known |= _matches(self._likeness(faces, views, known), _LIKE)
        found = []
        for position, (face, view) in enumerate(zip(faces, views, strict=True)):
            number = self.tracks[known[position]].number if position in known else self._new_number()
            left, top, width, height = map(float, face.box)
            box = left, top, width, height
            found.append(Track(number=number, face=face, seen=time, missed=0, box=box, view=view))
        matched = set(known.values())
        missed = [_missed(track) for place, track in enumerate(self.tracks) if place not in matched]
        self.tracks = [*found, *(track for track in missed if track.missed < self.lost_after)]
        return list(self.tracks)

    def _likeness(
        self, faces: "Sequence[Face]", views: Sequence[np.ndarray | None], known: dict[int, int]
    ) -> np.ndarray:
        """(tracks, faces) correlation of those that no overlap has matched and that are near enough; 0 for others."""
        table = np.zeros((len(self.tracks), len(faces)))
        for row, track in enumerate(self.tracks):
            for column, (face, view) in enumerate(zip(faces, views, strict=True)):
                if row not in known.values() and column not in known and _reachable(track.box, face.box):
                    table[row, column] = _likeness_of(track.view, view)
        return table

    def _new_number(self) -> int:
        self._given += 1
        return self._given

    def follow(self, picture: np.ndarray) -> list[Track]:
        """Move the boxes by what has moved in them since the frame before; one whose points are lost keeps its place.

        Args:
            picture: (h, w) or (h, w, 3) uint8, this frame.

        Returns:
            All that were not dropped: a face whose centre leaves the picture is.
        """
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        scale = min(_FLOW_SIDE / max(grey.shape), 1.0)
        if scale < 1:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        previous, self._previous = self._previous, grey
        if previous is None or previous.shape != grey.shape:
            return list(self.tracks)
        starts, ends, owners = _flow(previous, grey, [track.box for track in self.tracks], scale)
        width, height = grey.shape[1] / scale, grey.shape[0] / scale
        moved = []
        for place, track in enumerate(self.tracks):
            box = _moved_box(track.box, starts[owners == place], ends[owners == place])
            if 0 <= box[0] + box[2] / 2 < width and 0 <= box[1] + box[3] / 2 < height:
                face = _moved_face(track, box, round(width), round(height))
                moved.append(dataclasses.replace(track, face=face, box=box))
        self.tracks = moved
        return list(self.tracks)


def _same_scene(before: np.ndarray, view: np.ndarray) -> bool:
    """Whether two tiny frames correlate when one is moved over the other, as far as a camera turns in between."""
    if before.std() < _PLAIN or view.std() < _PLAIN:
        return True  # a fade: nothing to compare
    middle = before[_MOVE:-_MOVE, _MOVE:-_MOVE]
    return bool(cv2.matchTemplate(view, middle, cv2.TM_CCOEFF_NORMED).max() >= _ALIKE)


def overlaps(boxes: Sequence[Box] | np.ndarray, others: Sequence[Box] | np.ndarray) -> np.ndarray:
    """(boxes, others) intersection over union, 0 to 1."""
    a = np.asarray(boxes, dtype=float).reshape(-1, 1, 4)
    b = np.asarray(others, dtype=float).reshape(1, -1, 4)
    starts = np.maximum(a[..., :2], b[..., :2])
    ends = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.clip(ends - starts, 0, None).prod(axis=2)
    union = a[..., 2:].prod(axis=2) + b[..., 2:].prod(axis=2) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def _matches(table: np.ndarray, least: float) -> dict[int, int]:
    """Column of a table -> its row, the pairs of the largest values first, each row once."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-table, axis=None, kind="stable"):
        row, column = divmod(int(flat), table.shape[1])
        if table[row, column] < least:
            break
        if column not in pairs and row not in pairs.values():
            pairs[column] = row
    return pairs


def _reachable(box: Box, other: Box) -> bool:
    """Whether a face can have gone from one box to the other between two detections."""
    size, other_size = max(box[2:]), max(other[2:])
    across, down = (other[axis] + other[axis + 2] / 2 - box[axis] - box[axis + 2] / 2 for axis in (0, 1))
    alike = max(size, other_size) <= _RESIZED * min(size, other_size)
    return alike and math.hypot(across, down) <= _REACH * max(size, other_size)


def _face_view(picture: np.ndarray | None, face: "Face") -> np.ndarray | None:
    """A face made tiny, (16, 16) float32."""
    if picture is None:
        return None
    left, top, width, height = face.box
    part = picture[top : top + height, left : left + width]
    grey = part if part.ndim == 2 else cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (_FACE_VIEW, _FACE_VIEW), interpolation=cv2.INTER_AREA).astype(np.float32)


def _likeness_of(view: np.ndarray | None, other: np.ndarray | None) -> float:
    """Correlation of two tiny faces, one moved over the other as far as boxes differ; 0 where one is unknown."""
    if view is None or other is None:
        return 0.0
    middle = view[_FACE_MOVE:-_FACE_MOVE, _FACE_MOVE:-_FACE_MOVE]
    return float(cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED).max())


def _missed(track: Track) -> Track:
    face = dataclasses.replace(track.face, score=None, mesh=None)
    return dataclasses.replace(track, face=face, missed=track.missed + 1)


def _flow(
    previous: np.ndarray, grey: np.ndarray, boxes: Sequence[Box], scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points that were found again, in pixels of the boxes: starts (n, 2), ends (n, 2), the box of each (n,)."""
    points = [_points(previous, np.asarray(box) * scale) for box in boxes]
    owners = np.repeat(np.arange(len(points)), [len(some) for some in points])
    if not len(owners):
        return np.zeros((0, 2)), np.zeros((0, 2)), owners
    starts = np.concatenate(points)
    ends, there, _ = cv2.calcOpticalFlowPyrLK(previous, grey, starts, starts.copy(), **_LUCAS_KANADE)
    back, home, _ = cv2.calcOpticalFlowPyrLK(grey, previous, ends, starts.copy(), **_LUCAS_KANADE)
    good = (there.ravel() == 1) & (home.ravel() == 1) & (np.linalg.norm(back - starts, axis=1) < _ASTRAY)
    return starts[good] / scale, ends[good] / scale, owners[good]


def _points(grey: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(n, 2) float32 corners in the inner part of a box, n may be 0."""
    inset = (1 - _INNER) / 2 * box[2:]
    low = np.maximum(np.round(box[:2] + inset), 0).astype(int)
    high = np.minimum(np.round(box[:2] + box[2:] - inset), grey.shape[::-1]).astype(int)
    if (high - low < 4).any():
        return np.zeros((0, 2), np.float32)
    part = grey[low[1] : high[1], low[0] : high[0]]
    apart = max(2.0, min(part.shape) / 10)
    found = cv2.goodFeaturesToTrack(part, maxCorners=_POINTS, qualityLevel=0.02, minDistance=apart)
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2) + low.astype(np.float32)


def _moved_box(box: Box, starts: np.ndarray, ends: np.ndarray) -> Box:
    """The box after the median shift and growth of its points; medians do not mind a few that went astray."""
    if len(starts) < _FEWEST:
        return box
    left, top, width, height = box
    growth = _growth(starts, ends)
    centre = np.array([left + width / 2, top + height / 2])
    # Points are moved as the box is, about its centre: what is left then is the shift.
    shift = np.median(ends - (centre + (starts - centre) * growth), axis=0)
    column, row = centre + shift
    return column - growth * width / 2, row - growth * height / 2, growth * width, growth * height


def _growth(starts: np.ndarray, ends: np.ndarray) -> float:
    """Median growth of the distances between all pairs of points."""
    first, second = np.triu_indices(len(starts), k=1)
    before = np.linalg.norm(starts[first] - starts[second], axis=1)
    after = np.linalg.norm(ends[first] - ends[second], axis=1)
    return float(np.clip(np.median(after / before), 1 / _GROWTH, _GROWTH))


def _moved_face(track: Track, box: Box, width: int, height: int) -> "Face":
    """The face where its box now is, as far as that lies in the picture; its points are moved along."""
    old, new = np.asarray(track.box), np.asarray(box)
    points = track.face.points
    if points is not None:
        points = new[:2] + (points - old[:2]) * (new[2:] / old[2:])
    left, top = max(round(box[0]), 0), max(round(box[1]), 0)
    right, bottom = min(round(box[0] + box[2]), width), min(round(box[1] + box[3]), height)
    box_inside = (left, top, right - left, bottom - top)
    return dataclasses.replace(track.face, box=box_inside, score=None, points=points, mesh=None)


class Smoother:
    """Exponential smoothing of each face's predictions, by time and not by frames.

    Args:
        half_life: Seconds after which a prediction weighs half in the smoothed one; 0 smooths nothing.
    """

    def __init__(self, half_life: float) -> None:
        self.half_life = half_life
        self._last: dict[int, np.ndarray] = {}
        self._time = 0.0

    def smooth(self, numbers: Sequence[int], time: float, table: np.ndarray) -> np.ndarray:
        """The smoothed predictions of a frame; tracks that are not in it are forgotten.

        Args:
            numbers: (n,) of the tracks.
            time: Seconds of the video, growing.
            table: (n, values) probabilities of any kind.
        """
        share = 1 - 0.5 ** (max(time - self._time, 0.0) / self.half_life) if self.half_life > 0 else 1.0
        table = table.copy()
        for row, number in enumerate(numbers):
            if number in self._last:
                table[row] = share * table[row] + (1 - share) * self._last[number]
        self._last, self._time = dict(zip(numbers, table, strict=True)), time
        return table
