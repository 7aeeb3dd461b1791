"""What a saved model is, whatever file it is in: its metadata, its predictions, the crops that it takes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from fer_hierarchy.hierarchy.config import DataConfig, check_value
from fer_hierarchy.hierarchy.data.decoding import with_channels
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee
from fer_hierarchy.hierarchy.evaluation.label_shift import ValidationFacts
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What must be known of a model to give it a face and to read its prediction.

    Attributes:
        run: Name of the run that it came from.
        mode: "hierarchical" or "flat".
        taxonomy: The grouping, whose `emotions` and `group_names` are the columns of every prediction.
        image_size: Side of the square faces in pixels.
        channels: 1 (grey) or 3 (RGB).
        align: Whether the faces that it was trained on were turned until their eyes were level.
        synthetic: Whether it was trained on faces that a program drew.
        prior: Share of each emotion that its probabilities are made for; None in exports of older versions.
        validation: What its validation faces tell; None in those, and where a run has not kept their predictions.
        guarantee: What its calibration faces let it promise; None as `validation`.
    """

    run: str
    mode: str
    taxonomy: Taxonomy
    image_size: int
    channels: int
    align: bool
    synthetic: bool
    prior: tuple[float, ...] | None = None
    validation: ValidationFacts | None = None
    guarantee: Guarantee | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a face."""
        return self.image_size, self.image_size, self.channels

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that an exported file carries."""
        guarantee = self.guarantee.to_dict() if self.guarantee else None
        return {"format": FORMAT, **asdict(self), "taxonomy": self.taxonomy.to_dict(), "guarantee": guarantee}

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
            raise UserError(f"{source}: the metadata inside are not of format {FORMAT}; export the run again")
        kinds: dict[str, Callable] = {
            "run": str,
            "mode": str,
            "taxonomy": lambda groups: Taxonomy.from_dict(groups, name="run"),
            "image_size": int,
            "channels": int,
            "align": bool,
            "synthetic": bool,
        }
        try:
            given = {name: kind(record[name]) for name, kind in kinds.items()}
            facts = cls(**given, **_shares(record, len(given["taxonomy"].emotions)))
            for name in ("image_size", "channels"):
                check_value(DataConfig, name, getattr(facts, name), name)
        except UserError as error:
            raise UserError(f"{source}: {error}") from error
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{source}: the metadata inside are incomplete ({error}); export the run again") from error
        return facts


def _shares(record: Mapping, emotions: int) -> dict[str, Any]:
    """What the metadata of this version hold besides: the prior and what validation faces tell."""
    given: dict[str, Any] = {}
    if (prior := record.get("prior")) is not None:
        given["prior"] = _numbers(prior, emotions, above=0)
    if (facts := record.get("validation")) is not None:
        counts, biases = _numbers(facts["counts"], emotions, above=0), _numbers(facts["biases"], emotions)
        neutral = None if facts.get("neutral") is None else _numbers(facts["neutral"], emotions)
        given["validation"] = ValidationFacts(
            counts=counts, slope=float(facts["slope"]), biases=biases, neutral=neutral
        )
    if (promised := record.get("guarantee")) is not None:
        given["guarantee"] = Guarantee.from_dict(promised, classes=emotions)
    return given


def _numbers(values: Sequence[float], count: int, *, above: float = -math.inf) -> tuple[float, ...]:
    numbers = tuple(map(float, values))
    if len(numbers) != count or not all(above < number < math.inf for number in numbers):
        raise ValueError(f"expected {count} numbers, got {values}")
    return numbers


class Model(ABC):
    """A whole hierarchy (or a flat classifier): uint8 faces in, probabilities out.

    Not safe for several threads at once; `inference.predictor.Predictor` is.

    Attributes:
        facts: Its metadata.
        source: The folder or file that it was loaded from.
    """

    facts: Metadata
    source: str

    @abstractmethod
    def emotions(self, faces: np.ndarray) -> np.ndarray:
        """The same as the network or file gives it: at least one face, rows that sum to about 1."""

    def predict(self, faces: np.ndarray) -> np.ndarray:
        """P(emotion|x) of faces (n, size, size, channels) uint8, n may be 0.

        Returns:
            (n, emotions) float64, rows sum to 1, columns as `taxonomy.emotions`.
        """
        if not len(faces):
            return np.zeros((0, len(self.facts.taxonomy.emotions)))
        table = np.asarray(self.emotions(faces), dtype=np.float64)
        return table / table.sum(axis=1, keepdims=True)


def gate_of(probabilities: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """P(group|x): (n, groups) sums of (n, emotions) probabilities over the members of each group.

    Soft composition makes the gate's probability the sum of its emotions', so a flat model's is their sum as well.
    """
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
