"""Invented predictions of a model that is right about two times in three, for tests of reports."""

import numpy as np

from fer_hierarchy.hierarchy.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy("valence").exclude(["contempt"])
EMOTIONS = TAXONOMY.emotions
SHARES = {
    "angry": 0.13,
    "disgust": 0.016,
    "fear": 0.14,
    "happy": 0.25,
    "sad": 0.18,
    "surprise": 0.116,
    "neutral": 0.168,
}


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def invented_answers(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n, emotions) of a model that is right about two times in three."""
    share = np.array([SHARES[e] for e in EMOTIONS])
    labels = np.concatenate(
        [np.arange(len(EMOTIONS)), rng.choice(len(EMOTIONS), n - len(EMOTIONS), p=share / share.sum())]
    )
    logits = rng.normal(0, 1.1, (n, len(EMOTIONS)))
    logits[np.arange(n), labels] += 2.1
    return labels, softmax(1.4 * logits)
