"""Calibration: temperature, prior correction and logit adjustment of probabilities, and how far off they are.

Temperature scaling and the binned error follow Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from fer_hierarchy.hierarchy.errors import UserError

TEMPERATURE_BOUNDS = (0.05, 20.0)
BINS = 15
LEAST = 5e-7  # half of the last digit of the prediction tables: what a smaller probability is taken for


def fit_temperature(logits: ArrayLike, labels: ArrayLike, log_prior_shift: ArrayLike | None = None) -> float:
    """The temperature that makes validation labels likeliest under `probabilities`.

    Args:
        logits: (n, classes) of the validation faces.
        labels: (n,) class indices.
        log_prior_shift: (classes,) from `prior_shift`, None for no shift.

    Returns:
        Temperature within `TEMPERATURE_BOUNDS`; above 1 softens an overconfident stage.

    Raises:
        UserError: No faces, shapes that do not fit, labels that are no classes, or logits that are not finite.
    """
    logits, shift = _checked_logits(logits, log_prior_shift)
    labels = np.asarray(labels)
    rows, classes = logits.shape
    if rows == 0 or labels.shape != (rows,):
        raise UserError(f"temperature: got {labels.shape} labels for {rows} faces; needed one each, at least one face")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"temperature: labels run from {labels.min()} to {labels.max()}; needed 0 to {classes - 1}")
    labels = labels.astype(np.int64)

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature) + shift, axis=1)
        return -scaled[np.arange(rows), labels].mean()

    # The loss is convex in 1/T, so it has one valley in log T as well; log T searches both ends evenly.
    found = minimize_scalar(loss, bounds=np.log(TEMPERATURE_BOUNDS), method="bounded", options={"xatol": 1e-5})
    return float(np.clip(np.exp(found.x), *TEMPERATURE_BOUNDS))


def fit_biases(probabilities: ArrayLike, labels: ArrayLike) -> tuple[float, np.ndarray]:
    """A temperature with a bias for each class, fitted on validation faces.

    Bias-corrected temperature scaling of Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected
    calibration is hard-to-beat at label shift adaptation", ICML 2020:
    softmax(slope * log p + biases) makes the labels likeliest, and then every class is predicted as often, in the
    mean, as it occurs. An estimate of other shares (`label_shift.estimate_em`) needs that; a temperature alone leaves
    what label smoothing does to rare classes.

    Args:
        probabilities: (n, classes) of validation faces.
        labels: (n,) class indices, each class at least once.

    Returns:
        The slope, and (classes,) biases whose mean is 0.

    Raises:
        UserError: A class without a face, or shapes that do not fit.
    """
    logs, labels = np.log(np.maximum(probabilities, LEAST)), np.asarray(labels)
    rows, classes = logs.shape
    if labels.shape != (rows,) or set(labels.tolist()) != set(range(classes)):
        raise UserError(
            f"biases: got {labels.shape} labels for {rows} faces; needed one each, of all {classes} classes"
        )
    targets = np.eye(classes)[labels]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = log_softmax(values[0] * logs + values[1:], axis=1)
        gradient = (np.exp(scaled) - targets) / rows
        return -(scaled * targets).sum() / rows, np.array([(gradient * logs).sum(), *gradient.sum(axis=0)])

    slope, *biases = minimize(loss, np.eye(1, classes + 1)[0], jac=True, method="L-BFGS-B").x
    return float(slope), np.array(biases) - np.mean(biases)


def probabilities(logits: ArrayLike, temperature: float = 1.0, log_prior_shift: ArrayLike | None = None) -> np.ndarray:
    """softmax(logits / temperature + log_prior_shift).

    Args:
        logits: (n, classes).
        temperature: Above 0.
        log_prior_shift: (classes,) from `prior_shift`, None for no shift.

    Returns:
        (n, classes) float64, rows sum to 1.

    Raises:
        UserError: Shapes that do not fit, logits that are not finite, or a temperature that is not above 0.
    """
    logits, shift = _checked_logits(logits, log_prior_shift)
    if not (np.isfinite(temperature) and temperature > 0):
        raise UserError(f"temperature: got {temperature}; needed a number above 0")
    return softmax(logits / temperature + shift, axis=1)


def prior_shift(trained_prior: ArrayLike, natural_prior: ArrayLike) -> np.ndarray:
    """What to add to the logits of a stage whose training classes were rebalanced, to predict for the natural ones.

    Args:
        trained_prior: (classes,) counts or shares as drawn (or weighted) in training.
        natural_prior: (classes,) counts or shares of the train split before balancing.

    Returns:
        (classes,) float64 log(natural / trained).

    Raises:
        UserError: Lengths differ, or a class has no share.
    """
    trained, natural = _prior(trained_prior, "trained prior"), _prior(natural_prior, "natural prior")
    if trained.shape != natural.shape:
        raise UserError(f"priors: got {len(trained)} trained and {len(natural)} natural classes; needed the same")
    return np.log(natural) - np.log(trained)


def logit_adjust(probabilities: ArrayLike, prior: ArrayLike, tau: float = 1.0) -> np.ndarray:
    """Post-hoc logit adjustment: divide by prior ** tau, which trades accuracy on common classes for rare ones.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021.

    Args:
        probabilities: (n, classes), for the natural class shares.
        prior: (classes,) counts or shares of the train split.
        tau: 0 changes nothing, 1 aims at balanced accuracy.

    Returns:
        (n, classes) float64, rows sum to 1.

    Raises:
        UserError: Shapes that do not fit, a class without a share, or a tau that is not finite.
    """
    table, prior = np.asarray(probabilities, dtype=np.float64), _prior(prior, "prior")
    if table.ndim != 2 or table.shape[1] != len(prior):
        raise UserError(f"logit adjustment: got probabilities of shape {table.shape} for {len(prior)} classes")
    if not np.isfinite(tau):
        raise UserError(f"logit adjustment: got tau {tau}; needed a finite number, usually 0 to 2")
    with np.errstate(divide="ignore"):  # log(0) = -inf is right here: a class ruled out stays ruled out
        return softmax(np.log(table) - tau * np.log(prior), axis=1)


def reliability(y_true: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> list[dict]:
    """How often the prediction is right, by its confidence.

    Args:
        y_true: (n,) class indices.
        probabilities: (n, classes).
        bins: Number of bins of equal width over the highest probability, each holding its upper edge.

    Returns:
        One dict a bin: lower, upper, count, and mean confidence and accuracy (None in an empty bin).
    """
    table = np.asarray(probabilities, dtype=np.float64)
    confidence = table.max(axis=1)
    correct = table.argmax(axis=1) == np.asarray(y_true)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    sure = np.bincount(place, weights=confidence, minlength=bins)
    right = np.bincount(place, weights=correct, minlength=bins)
    return [
        {
            "lower": i / bins,
            "upper": (i + 1) / bins,
            "count": int(counts[i]),
            "confidence": float(sure[i] / counts[i]) if counts[i] else None,
            "accuracy": float(right[i] / counts[i]) if counts[i] else None,
        }
        for i in range(bins)
    ]


def expected_calibration_error(y_true: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over the bins of `reliability`, weighted by their counts.

    Raises:
        UserError: No faces.
    """
    table = reliability(y_true, probabilities, bins)
    total = sum(row["count"] for row in table)
    if not total:
        raise UserError("expected calibration error: got no faces; needed at least one")
    return sum(row["count"] * abs(row["confidence"] - row["accuracy"]) for row in table if row["count"]) / total


def _checked_logits(logits: ArrayLike, log_prior_shift: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or not logits.shape[1] or not np.isfinite(logits).all():
        raise UserError(f"logits: got shape {logits.shape} or non-finite values; needed finite (faces, classes)")
    shift = np.zeros(logits.shape[1]) if log_prior_shift is None else np.asarray(log_prior_shift, dtype=np.float64)
    if shift.shape != (logits.shape[1],) or not np.isfinite(shift).all():
        raise UserError(f"log_prior_shift: got shape {shift.shape} or non-finite values for {logits.shape[1]} classes")
    return logits, shift


def _prior(values: ArrayLike, what: str) -> np.ndarray:
    prior = np.asarray(values, dtype=np.float64)
    if prior.ndim != 1 or not np.isfinite(prior).all() or (prior <= 0).any():
        raise UserError(f"{what}: got {prior.tolist()}; needed a count or share above 0 for each class")
    return prior / prior.sum()
