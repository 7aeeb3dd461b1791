"""`--prior`: the shares of the emotions where a model is used, given by the user or estimated from the faces."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.label_shift import Estimate, estimate_shares
from fer_hierarchy.hierarchy.json_text import read_written
from fer_hierarchy.hierarchy.paths import require_file
from fer_hierarchy.inference.model import Metadata

UNIFORM, AUTO = "uniform", "auto"

_TOLERANCE = 0.011  # by which shares may miss a sum of 1: they are rounded to percents
_REMEDY = "export or train it again"


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Shares of the emotions, before it is known which model they are for.

    Attributes:
        name: What rows call it: "uniform", "auto", or the name of the file.
        shares: Emotion -> share; None where they are equal or estimated.
    """

    name: str
    shares: Mapping[str, float] | None = None

    @classmethod
    def of(cls, given: str | Path | Mapping[str, float]) -> Self:
        """The prior that a user names.

        Args:
            given: "uniform", "auto", a JSON or csv file of emotion and share, or a dictionary of them.

        Raises:
            UserError: No such file, or its shares are none.

        Examples:
            >>> from fer_hierarchy.inference.priors import Prior
            >>> Prior.of({"happy": 0.3, "neutral": 0.7}).shares["neutral"]
            0.7
        """
        if isinstance(given, Mapping):
            return cls(name="given", shares=_checked(given, "prior"))
        if given in (UNIFORM, AUTO):
            return cls(name=str(given))
        path = Path(given)
        return cls(name=path.name, shares=_checked(_read(path), f"--prior {path}"))

    def target(self, facts: Metadata) -> np.ndarray:
        """The shares for one model, (emotions,) in the order of its columns; not of "auto".

        Raises:
            UserError: They name an emotion that it has not, lack one, or do not sum to 1.
        """
        emotions = facts.taxonomy.emotions
        if self.shares is None:
            return np.full(len(emotions), 1 / len(emotions))
        known = f"the emotions of {facts.run} are {', '.join(emotions)}"
        if (unknown := next((name for name in self.shares if name not in emotions), None)) is not None:
            raise UserError(f"--prior {self.name}: unknown emotion {unknown!r}; {known}")
        if missing := next((emotion for emotion in emotions if emotion not in self.shares), None):
            raise UserError(f"--prior {self.name}: no share of {missing!r} (0 rules it out); {known}")
        shares = np.array([self.shares[emotion] for emotion in emotions])
        if abs(shares.sum() - 1) > _TOLERANCE:
            raise UserError(
                f"--prior {self.name}: the shares sum to {shares.sum():g}; expected 1 (divide counts by their sum)"
            )
        return shares / shares.sum()


def trained_prior(facts: Metadata) -> np.ndarray:
    """The shares that a model's probabilities are made for, (emotions,).

    Raises:
        UserError: It does not hold them.
    """
    if facts.prior is None:
        raise UserError(f"--prior: {facts.run} does not hold the shares of its training; {_REMEDY}")
    return np.array(facts.prior)


def estimated(tables: Sequence[np.ndarray], facts: Metadata) -> Estimate:
    """The shares among the faces of one call.

    Args:
        tables: Each (faces, emotions) probabilities of the model.
        facts: Of the model.

    Raises:
        UserError: Too few faces, or a model without validation faces.
    """
    if facts.validation is None:
        raise UserError(f"--prior auto: {facts.run} does not hold what its validation faces tell; {_REMEDY}")
    try:
        return estimate_shares(np.concatenate([np.zeros((0, len(facts.validation.counts))), *tables]), facts.validation)
    except UserError as error:
        raise UserError(f"--prior auto: {error}; name a file of shares, or leave --prior out") from error


def prior_name(estimate: Estimate) -> str:
    """What rows call estimated shares."""
    return f"{AUTO} of {estimate.faces} faces"


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".json":
        return read_written(path, f"--prior {path}")
    try:
        require_file(path)
        rows = [row for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"--prior {path}: not readable ({error}); "
            "expected uniform, auto, or a JSON or csv file of emotion and share"
        ) from error
    rows = [[cell.strip() for cell in row] for row in rows]
    if wrong := next((row for row in rows if len(row) != 2), None):
        raise UserError(f"--prior {path}: line {','.join(wrong)!r}; expected an emotion, a comma and its share")
    rows = rows[1:] if rows[:1] == [["emotion", "share"]] else rows
    names = [name for name, _ in rows]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--prior {path}: {twice[0]!r} stands there twice")
    return dict(rows)


def _checked(given: Any, where: str) -> dict[str, float]:
    """Shares that are finite and not negative."""
    if not isinstance(given, Mapping) or not given:
        raise UserError(f"{where}: expected emotions with their shares, such as happy 0.25")
    return {str(emotion): _share(emotion, value, where) for emotion, value in given.items()}


def _share(emotion: object, value: Any, where: str) -> float:
    try:
        share = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if not 0 <= share <= 1 + _TOLERANCE:
        raise UserError(f"{where}: share of {emotion!r}: expected a number from 0 to 1, got {value!r}")
    return share
