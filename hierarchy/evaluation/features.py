"""Learned features in two dimensions, for a figure: t-SNE of a stratified choice of faces.

Van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from fer_hierarchy.hierarchy.errors import UserError

MOST_FACES = 2000  # more take long and hide each other in a figure
_COMPONENTS = 50  # what is left of wide features, as the paper does: less noise, less time
_PERPLEXITY = 30.0  # about how many neighbours of a face are kept; the paper's range is 5 to 50


def feature_map(ids: Sequence[str], emotions: Sequence[str], features: np.ndarray, *, seed: int) -> pd.DataFrame:
    """The table of `features.csv`: where t-SNE puts the faces of one stage.

    Args:
        ids: Manifest ids of n faces.
        emotions: Their labels, n names.
        features: (n, d), what goes into the stage's last layer.
        seed: Decides the choice of at most `MOST_FACES` faces, and the embedding.

    Returns:
        Columns row (an id), emotion, x, y, in the order of the faces.

    Raises:
        UserError: The features are not finite.
    """
    chosen = stratified(emotions, most=MOST_FACES, seed=seed)
    points = pd.DataFrame(embed(np.asarray(features)[chosen], seed=seed), columns=["x", "y"])
    points.insert(0, "row", np.asarray(ids, dtype=object)[chosen])
    points.insert(1, "emotion", np.asarray(emotions, dtype=object)[chosen])
    return points


def stratified(labels: Sequence[str], *, most: int, seed: int) -> np.ndarray:
    """Positions of at most `most` rows, each label with its share of them and with one at least; all where they fit.

    Args:
        labels: n labels.
        most: At least the number of different labels.
        seed: Decides which rows of a label are taken.

    Returns:
        Positions into `labels`, int64, rising.
    """
    labels = np.asarray(labels)
    if len(labels) <= most:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    quotas = np.maximum(1, most * counts // len(labels))
    quotas[counts.argmax()] -= max(0, quotas.sum() - most)  # the largest pays for those that were given their one
    chosen = [
        rng.choice(np.flatnonzero(labels == name), n, replace=False) for name, n in zip(names, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def embed(features: np.ndarray, *, seed: int) -> np.ndarray:
    """t-SNE of the main components, started from the first two; of fewer than four faces those two themselves.

    Args:
        features: (n, d), n and d any number.
        seed: Decides the little that is random.

    Returns:
        (n, 2) float64. Near points are neighbours; distances further out mean nothing.

    Raises:
        UserError: The features are not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if not np.isfinite(features).all():
        raise UserError("features: some are not finite; a stage that predicts numbers has finite ones")
    components = _main_components(features, seed)
    start, spread = components[:, :2], components[:, 0].std() if len(features) else 0.0
    if len(features) < 4 or not spread:
        return start
    tsne = TSNE(
        perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
        init=(start / spread * 1e-4).astype(np.float32),  # as small as the paper starts
        random_state=seed,
    )
    # One thread: with more, sums depend on their number, and waiting for each other costs more than they save.
    with threadpool_limits(1):
        return tsne.fit_transform(components).astype(np.float64)


def _main_components(features: np.ndarray, seed: int) -> np.ndarray:
    """At most `_COMPONENTS` main components, (n, at least 2); zeros where there are none."""
    count = min(_COMPONENTS, *features.shape)
    found = np.zeros((len(features), max(2, count)))
    if count and np.ptp(features, axis=0).any():
        found[:, :count] = PCA(count, random_state=seed).fit_transform(features)
    return found
