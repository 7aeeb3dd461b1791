"""Tables of probabilities: checked, and several as one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax

from fer_hierarchy.hierarchy.errors import UserError

# float32 softmaxes and six-digit csv files pass; logits and percentages do not.
_SUM_TOLERANCE = 1e-3


def as_probabilities(values: ArrayLike, columns: int, what: str) -> np.ndarray:
    """Check that `values` is a table of probabilities and bring its rows to sum to exactly 1.

    Args:
        values: (n, columns) numbers in [0, 1] whose rows sum to 1 within 0.001.
        columns: Number of classes.
        what: What to call the table in an error.

    Returns:
        (n, columns) float64.

    Raises:
        UserError: Another shape, a value that is not finite or is negative, or a row that does not sum to 1.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != columns:
        raise UserError(f"{what}: got shape {table.shape}; needed (faces, {columns})")
    bad = ~(np.isfinite(table) & (table >= 0)).all(axis=1)
    if bad.any():
        raise UserError(f"{what}: row {int(bad.argmax())} holds a negative or non-finite value; needed probabilities")
    sums = table.sum(axis=1, keepdims=True)
    off = np.abs(sums[:, 0] - 1) > _SUM_TOLERANCE
    if off.any():
        row = int(off.argmax())
        raise UserError(f"{what}: row {row} sums to {sums[row, 0]:.6g}; each row of probabilities must sum to 1")
    return table / sums


def geometric_mean(tables: Sequence[ArrayLike], *, least: float) -> np.ndarray:
    """The pooled probabilities of several classifiers on the same faces, each with the same weight.

    It is the logarithmic opinion pool of Genest and Zidek, "Combining probability distributions", Statistical Science
    1, 1986.

    Args:
        tables: Each (n, classes) probabilities.
        least: What a smaller probability is taken for, so that no single classifier rules an emotion out.

    Returns:
        (n, classes) float64 whose rows sum to 1.
    """
    return softmax(np.mean([np.log(np.maximum(table, least)) for table in tables], axis=0), axis=1)
