"""Probabilities measured against a person's face at rest, which a stern or a smiling build makes look like an emotion.

What a person's resting face has more of an emotion, in logarithms, than the neutral faces of the validation split have
in the mean is taken off all of that person's faces, by a quarter:

    log p'(emotion) = log p(emotion) - 0.25 * (mean log p(emotion | at rest) - mean log p(emotion | neutral)) + constant

Only a quarter, because the face at rest tells of the person and of the moment alike: the whole makes too much neutral.
"""

import numpy as np
from numpy.typing import ArrayLike

STRENGTH = 0.25  # chosen on half of the rendered people of tests/benchmarks/bench_resting.py
_LEAST = 5e-7  # what a smaller probability is taken for, as in the tables of a run


def mean_logs(probabilities: ArrayLike) -> np.ndarray:
    """(classes,) mean logarithms of (n, classes) probabilities."""
    return np.log(np.maximum(probabilities, _LEAST)).mean(axis=0)


def resting_offset(resting: ArrayLike, neutral: ArrayLike, *, strength: float = STRENGTH) -> np.ndarray:
    """What a person's resting face is too much of.

    Args:
        resting: (classes,) mean logarithms of the probabilities of the face at rest.
        neutral: (classes,) the same of the neutral faces of many people.
        strength: 0 takes nothing off, 1 makes the resting face look like the mean neutral one.

    Returns:
        (classes,) logarithms for `measured`.
    """
    return strength * (np.asarray(resting) - np.asarray(neutral))


def measured(probabilities: ArrayLike, offset: ArrayLike) -> np.ndarray:
    """Probabilities with an offset taken off.

    Args:
        probabilities: (n, classes).
        offset: (classes,) or (n, classes) logarithms.

    Returns:
        (n, classes) float64, rows sum to 1.

    Examples:
        >>> import numpy as np
        >>> from fer_hierarchy.hierarchy.evaluation.resting import measured
        >>> measured([[0.8, 0.2]], np.log([4.0, 1.0])).tolist()
        [[0.5, 0.5]]
    """
    table = np.asarray(probabilities, dtype=np.float64) * np.exp(-np.asarray(offset))
    return table / table.sum(axis=1, keepdims=True)
