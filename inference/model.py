"""What a saved model is and says, whatever file it lives in: its facts, its answers, the crops that it takes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fer_hierarchy.hierarchy.data.decoding import with_channels
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What must be known of a model to ask it about a face and to read its answer.

    Attributes:
        run: Name of the run that it came from.
        mode: "hierarchical" or "flat".
        taxonomy: The grouping, whose `emotions` and `group_names` are the columns of every answer.
        image_size: Side of the square faces in pixels.
        channels: 1 (grey) or 3 (RGB).
        align: Whether the faces that it learned from were turned until their eyes were level.
        synthetic: Whether it learned from faces that a program drew.
    """

    run: str
    mode: str
    taxonomy: Taxonomy
    image_size: int
    channels: int
    align: bool
    synthetic: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a face."""
        return self.image_size, self.image_size, self.channels

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that an exported file carries."""
        return {
            "format": FORMAT,
            "run": self.run,
            "mode": self.mode,
            "taxonomy": self.taxonomy.to_dict(),
            "image_size": self.image_size,
            "channels": self.channels,
            "align": self.align,
            "synthetic": self.synthetic,
        }

    @classmethod
    def from_dict(cls, record: Any, *, source: str) -> Self:
        """Read what `to_dict` wrote.

        Args:
            record: The parsed JSON.
            source: What errors call the file.

        Raises:
            UserError: It is of another format or incomplete.
        """
        if not isinstance(record, Mapping) or record.get("format") != FORMAT:
            raise UserError(f"{source}: the facts inside are not of format {FORMAT}; export the run again")
        try:
            return cls(
                run=str(record["run"]),
                mode=str(record["mode"]),
                taxonomy=Taxonomy.from_dict(record["taxonomy"], name="run"),
                image_size=int(record["image_size"]),
                channels=int(record["channels"]),
                align=bool(record["align"]),
                synthetic=bool(record["synthetic"]),
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{source}: the facts inside are incomplete ({error}); export the run again") from error


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model says of n faces.

    Attributes:
        probabilities: (n, emotions) float64 P(emotion|x), rows sum to 1, columns as `taxonomy.emotions`.
        gate: (n, groups) float64 P(group|x), columns as `taxonomy.group_names`. Soft composition makes it the sum of
            the group's emotions, so a flat model's is their sum as well.
    """

    probabilities: np.ndarray
    gate: np.ndarray


class Model(ABC):
    """A whole hierarchy (or a flat classifier) that answers: uint8 faces in, probabilities out.

    Not safe for several threads at once; `inference.predictor.Predictor` is.

    Attributes:
        facts: What it is.
        source: The folder or file that it was loaded from.
    """

    facts: Metadata
    source: str

    @abstractmethod
    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8: (n, emotions), rows sum to 1."""

    def answer(self, faces: np.ndarray) -> Answers:
        """Probabilities of faces (n, size, size, channels) uint8, n may be 0."""
        taxonomy = self.facts.taxonomy
        if not len(faces):
            return Answers(
                probabilities=np.zeros((0, len(taxonomy.emotions))), gate=np.zeros((0, len(taxonomy.groups)))
            )
        table = np.asarray(self.emotions(faces), dtype=np.float64)
        table = table / table.sum(axis=1, keepdims=True)
        return Answers(probabilities=table, gate=summed(table, taxonomy))


def summed(probabilities: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n, groups) sums of (n, emotions) probabilities over the members of each group."""
    members = np.eye(len(taxonomy.groups))[list(taxonomy.group_index)]  # (emotions, groups)
    return probabilities @ members


def prepared(crops: Sequence[np.ndarray], facts: Metadata) -> np.ndarray:
    """Faces as the model takes them, by the code that prepares training data.

    Args:
        crops: Native crops, each uint8 (h, w) grey or (h, w, 3) RGB.
        facts: Of the model.

    Returns:
        (n, size, size, channels) uint8.
    """
    if not crops:
        return np.zeros((0, *facts.shape), np.uint8)
    return np.stack([with_channels(crop, facts.image_size, facts.channels) for crop in crops])
