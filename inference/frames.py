"""The frames of a video with what their faces express: found or followed, answered together, smoothed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np

from fer_hierarchy.inference.faces.tracking import Smoother, Track, Tracker, flow_picture
from fer_hierarchy.inference.model import Answers, Metadata
from fer_hierarchy.inference.output.records import answer_columns, face_record
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.sources.video import Frame, VideoReader

_LINGER = 0.5  # seconds for which a face that is not found any more is still believed to be where it was


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameResult:
    """A frame that was looked at.

    Attributes:
        frame: Its picture, position and time.
        tracks: The faces in it.
        said: For each predictor its answers, a row a track, smoothed.
    """

    frame: Frame
    tracks: Sequence[Track]
    said: Sequence[Answers]


def analysed_frames(
    reader: VideoReader,
    predictors: Sequence[Predictor],
    *,
    step: int = 1,
    detect_every: int = 1,
    half_life: float = 0.0,
    batch_frames: int = 1,
) -> Iterator[FrameResult]:
    """Look at the frames of a video, one after the other.

    Args:
        reader: An open video.
        predictors: All answer for the faces that the first one's detector finds.
        step: Looks at every so many frames and skips those between without decoding them.
        detect_every: Looks for faces in every so many of these, and follows them by optical flow in between.
        half_life: Seconds after which an earlier answer weighs half in the smoothed one; 0 smooths nothing.
        batch_frames: Frames that are searched and answered together; 1 delays nothing, more are faster.
    """
    follower, smoother = _Follower(predictors[0], detect_every), Smoother(half_life)
    frames = _every(reader, step)
    while batch := list(islice(frames, batch_frames)):
        tracks = [follower.follow(frame, found) for frame, found in zip(batch, follower.search(batch), strict=True)]
        for frame, own, said in zip(batch, tracks, _answers(batch, tracks, predictors), strict=True):
            yield FrameResult(frame=frame, tracks=own, said=_smoothed(own, said, frame.time, smoother))


def frame_records(
    result: FrameResult, facts: Metadata, *, abstain: float = 0.0, model: int = 0
) -> list[dict[str, Any]]:
    """A row a face: frame, time (seconds), track, and what `inference.output.records.face_record` tells.

    Args:
        result: The frame.
        facts: Of the model.
        abstain: Probability below which the answer is "uncertain".
        model: Which of the predictors.
    """
    place = {"frame": result.frame.index, "time": round(result.frame.time, 3)}
    return [
        {**place, "track": track.number, **face_record(track.face, result.said[model], row, facts, abstain=abstain)}
        for row, track in enumerate(result.tracks)
    ]


def record_columns(facts: Metadata) -> list[str]:
    """Names of what `frame_records` gives, in order."""
    return ["frame", "time", "track", "left", "top", "width", "height", "score", *answer_columns(facts)]


def _every(reader: VideoReader, step: int) -> Iterator[Frame]:
    while (frame := reader.read()) is not None:
        yield frame
        reader.skip(step - 1)


class _Follower:
    """Finds faces in some frames and follows them in the others."""

    def __init__(self, predictor: Predictor, detect_every: int) -> None:
        self._predictor = predictor
        self._detect_every = detect_every
        self._tracker = Tracker()
        self._count = 0
        self._previous: np.ndarray | None = None

    def search(self, frames: Sequence[Frame]) -> list[Sequence | None]:
        """The faces in each frame, in all at once; None for frames that are not searched."""
        due = [(self._count + place) % self._detect_every == 0 for place in range(len(frames))]
        self._count += len(frames)
        searched = [frame.picture for frame, now in zip(frames, due, strict=True) if now]
        found = iter(self._predictor.find(searched) if searched else [])
        return [next(found) if now else None for now in due]

    def follow(self, frame: Frame, found: Sequence | None) -> list[Track]:
        """The faces that are in a frame, as far as can be known."""
        if self._detect_every > 1:
            grey, scale = flow_picture(frame.picture)
            if self._previous is not None and self._previous.shape == grey.shape:
                self._tracker.follow(self._previous, grey, scale=scale)
            self._previous = grey
        if found is not None:
            self._tracker.update(found, time=frame.time)
        return [t for t in self._tracker.tracks if not t.missed or frame.time - t.seen <= _LINGER]


def _answers(
    frames: Sequence[Frame], tracks: Sequence[Sequence[Track]], predictors: Sequence[Predictor]
) -> list[list[Answers]]:
    """For each frame what each predictor says, a row a track; one question to each for all frames."""
    ends = np.cumsum([0, *(len(own) for own in tracks)])
    by_frame: list[list[Answers]] = [[] for _ in frames]
    for predictor in predictors:
        crops = [
            crop
            for frame, own in zip(frames, tracks, strict=True)
            for crop in predictor.crops(frame.picture, [track.face for track in own])
        ]
        said = predictor.answer(crops)
        for own, (start, end) in zip(by_frame, pairwise(ends), strict=True):
            own.append(Answers(probabilities=said.probabilities[start:end], gate=said.gate[start:end]))
    return by_frame


def _smoothed(tracks: Sequence[Track], said: Sequence[Answers], seconds: float, smoother: Smoother) -> list[Answers]:
    """The answers of all predictors, each face's smoothed with its own earlier ones."""
    parts = [part for answers in said for part in (answers.probabilities, answers.gate)]
    table = np.hstack(parts)
    for row, track in enumerate(tracks):
        table[row] = smoother.smooth(track.number, seconds, table[row].copy())
    smoother.keep([track.number for track in tracks])
    smooth = np.split(table, np.cumsum([part.shape[1] for part in parts])[:-1], axis=1)
    return [Answers(probabilities=p, gate=g) for p, g in zip(smooth[::2], smooth[1::2], strict=True)]
