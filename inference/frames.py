"""The frames of a video with what their faces express: found or followed, predicted together, smoothed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from fer_hierarchy.inference.faces.crop import Face
from fer_hierarchy.inference.faces.tracking import Smoother, Track, Tracker
from fer_hierarchy.inference.output.records import Row, face_columns, prediction_columns, rows_of_faces
from fer_hierarchy.inference.predictor import Predictor, predict_together
from fer_hierarchy.inference.resting import RestingTracks
from fer_hierarchy.inference.sources.video import ROUNDING, Frame, VideoReader
from fer_hierarchy.inference.timings import Timings

_LINGER = 0.5  # seconds for which a face that is not found any more is still believed to be where it was


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameRows:
    """A frame whose faces were predicted.

    Attributes:
        frame: Its picture, position and time.
        rows: One a face and model, face by face: frame, time (seconds), track and what `rows_of_faces` gives.
    """

    frame: Frame
    rows: Sequence[Row]


def frame_columns(predictor: Predictor) -> list[str]:
    """Columns of a frame's rows in the csv file of the live window."""
    own, marks = face_columns(predictor.faces), predictor.marks
    return ["frame", "time", "track", *own, *marks, *prediction_columns(predictor.facts, predictor.promise), "reason"]


def predicted_frames(
    reader: VideoReader,
    predictors: Sequence[Predictor],
    *,
    interval: float = 0.0,
    detect_every: int = 1,
    half_life: float = 0.0,
    abstain: float = 0.0,
    batch_frames: int = 1,
) -> Iterator[FrameRows]:
    """Predict the faces in the frames of a video, one after the other.

    Args:
        reader: An open video.
        predictors: All predict the faces that the first one's detector finds.
        interval: Seconds from one frame that is predicted to the next; 0 takes all.
        detect_every: Searches every so many of these for faces, and follows them by optical flow in between.
        half_life: Seconds after which an earlier prediction weighs half in the smoothed one; 0 smooths nothing.
        abstain: Probability below which the emotion is "uncertain".
        batch_frames: Frames that are searched and predicted together; 1 delays nothing, more are faster.
    """
    follower, smoothers = _Follower(predictors[0], detect_every), [Smoother(half_life) for _ in predictors]
    resting = [predictor.rested_tracks() for predictor in predictors]
    frames = _every(reader, interval, predictors[0].timings)
    while batch := list(islice(frames, batch_frames)):
        tracks = [follower.follow(frame, found) for frame, found in zip(batch, follower.search(batch), strict=True)]
        faces = [
            predictors[0].with_landmarks(frame.picture, [track.face for track in own])
            for frame, own in zip(batch, tracks, strict=True)
        ]
        crops = [[p.crops(frame.picture, own) for p in predictors] for frame, own in zip(batch, faces, strict=True)]
        predicted = predict_together(predictors, crops)
        for frame, own, found, tables in zip(batch, tracks, faces, predicted, strict=True):
            numbers = [track.number for track in own]
            rested = [_rested(r, numbers, frame.time, table) for r, table in zip(resting, tables, strict=True)]
            smooth = [s.smooth(numbers, frame.time, table) for s, (table, _) in zip(smoothers, rested, strict=True)]
            by_face = rows_of_faces(found, smooth, predictors, abstain=abstain)
            place = {"frame": frame.index, "time": round(frame.time, 3)}
            rows = [
                {**place, "track": number, **row, **marks[at]}
                for at, (number, models) in enumerate(zip(numbers, by_face, strict=True))
                for row, (_, marks) in zip(models, rested, strict=True)
            ]
            yield FrameRows(frame=frame, rows=rows)


def _rested(
    tracks: RestingTracks | None, numbers: Sequence[int], time: float, table: np.ndarray
) -> tuple[np.ndarray, Sequence[Row]]:
    """The faces of a frame measured against their tracks' first seconds, and what the row of each holds of it."""
    if tracks is None:
        return table, [{} for _ in numbers]
    table, marks = tracks.measure(numbers, time, table)
    return table, [{"resting": mark} for mark in marks]


def _every(reader: VideoReader, interval: float, timings: Timings) -> Iterator[Frame]:
    """The first frame of each `interval` seconds."""
    due = 0.0
    while True:
        with timings.part("reading"):
            frame = reader.read(due)
        if frame is None:
            return
        yield frame
        if interval:
            due = interval * (math.floor((frame.time + ROUNDING) / interval) + 1)


class _Follower:
    """Finds faces in some frames and follows them in the others."""

    def __init__(self, predictor: Predictor, detect_every: int) -> None:
        self._predictor = predictor
        self._detect_every = detect_every
        self._tracker = Tracker()
        self._count = 0

    def search(self, frames: Sequence[Frame]) -> list[Sequence[Face] | None]:
        """The faces in each frame, in all at once; None for frames that are not searched."""
        due = [(self._count + place) % self._detect_every == 0 for place in range(len(frames))]
        self._count += len(frames)
        searched = [frame.picture for frame, now in zip(frames, due, strict=True) if now]
        found = iter(self._predictor.find(searched) if searched else [])
        return [next(found) if now else None for now in due]

    def follow(self, frame: Frame, found: Sequence[Face] | None) -> list[Track]:
        """The faces that are in a frame, as far as can be known."""
        self._tracker.end_scene(frame.picture)
        if self._detect_every > 1:
            self._tracker.follow(frame.picture)
        if found is not None:
            self._tracker.update(found, time=frame.time, picture=frame.picture)
        return [t for t in self._tracker.tracks if not t.missed or frame.time - t.seen <= _LINGER]
