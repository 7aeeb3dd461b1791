"""`--resting`: a person's face at rest, in a track's first seconds or a picture, which others are measured against."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import BadImageError, read_image
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.resting import mean_logs, measured, resting_offset
from fer_hierarchy.inference.model import Metadata

AT_REST, MEASURED = "at rest", "measured"  # what rows say: taken as neutral, and measured against that

_LONGEST = 3600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Resting:
    """Where a person's face at rest is from: the first seconds of its track, or a picture.

    Attributes:
        seconds: None where it is a picture.
        picture: None where it is seconds.
    """

    seconds: float | None = None
    picture: Path | None = None

    @classmethod
    def of(cls, given: str | Path) -> Self:
        """What a user names.

        Args:
            given: Seconds above 0, or a picture.

        Raises:
            UserError: It is neither.
        """
        try:
            seconds = float(str(given))
        except ValueError:
            picture = Path(given)
            if not picture.is_file():
                raise UserError(f"--resting: {given} is no file; expected seconds or a picture") from None
            return cls(picture=picture)
        if not 0 < seconds <= _LONGEST:
            raise UserError(f"--resting: expected seconds above 0 and up to {_LONGEST:.0f}, or a picture, got {given}")
        return cls(seconds=seconds)

    @property
    def mark(self) -> str:
        """What rows hold of the faces measured against it; each row of a film has its own."""
        return self.picture.name if self.picture else ""

    def check_length(self, name: str, seconds: float) -> None:
        """Refuse a film that ends before the seconds at rest do.

        Raises:
            UserError: It does.
        """
        if self.seconds is not None and 0 < seconds <= self.seconds:
            raise UserError(f"--resting {self.seconds:g}: {name} has {seconds:.1f} s, so that nothing is left")

    def read_picture(self) -> np.ndarray:
        """The picture, uint8 (h, w) or (h, w, 3) RGB.

        Raises:
            UserError: It cannot be read.
        """
        assert self.picture is not None
        try:
            return read_image(self.picture)
        except BadImageError as error:
            raise UserError(f"--resting {self.picture}: {error}") from error

    def check_faces(self, count: int) -> None:
        """Refuse a picture of no person or of several.

        Raises:
            UserError: It is one.
        """
        if count != 1:
            found = f"{count} faces" if count else "no face"
            raise UserError(f"--resting {self.picture}: {found} found in it; name a picture of one face at rest")


def neutral_logs(facts: Metadata) -> np.ndarray:
    """(emotions,) mean logarithms of a model's probabilities for neutral validation faces.

    Raises:
        UserError: It does not hold them.
    """
    if facts.validation is None or facts.validation.neutral is None:
        raise UserError(
            f"--resting: {facts.run} does not hold what it predicts for neutral validation faces; "
            "export or train it again"
        )
    return np.array(facts.validation.neutral)


class RestingTracks:
    """The tracks of one film: each is at rest in its first seconds, and measured against them afterwards.

    Args:
        seconds: How long a track is at rest.
        neutral: (emotions,) mean logarithms of neutral faces.
    """

    def __init__(self, seconds: float, neutral: np.ndarray) -> None:
        self._seconds, self._neutral = seconds, neutral
        self._began: dict[int, float] = {}
        self._seen: dict[int, list[np.ndarray]] = {}

    def measure(self, numbers: Sequence[int], time: float, table: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """The faces of one frame, measured, and what rows hold of each.

        Args:
            numbers: (n,) of the tracks.
            time: Seconds of the film, growing.
            table: (n, emotions) probabilities.
        """
        rested, marks = table.copy(), []
        for row, number in enumerate(numbers):
            began = self._began.setdefault(number, time)
            seen = self._seen.setdefault(number, [])
            if time - began < self._seconds:
                seen.append(mean_logs(table[row : row + 1]))
                marks.append(AT_REST)
            else:
                offset = resting_offset(np.mean(seen, axis=0), self._neutral)
                rested[row : row + 1] = measured(table[row : row + 1], offset)
                marks.append(MEASURED)
        return rested, marks
