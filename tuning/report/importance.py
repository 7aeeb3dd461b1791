"""Which hyperparameters a score depends on: what a random forest loses when it no longer sees one of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GroupKFold

from fer_hierarchy.tuning.report.trials import axis_of, completed, settings_numbers, several_epochs

FEWEST = 8  # completed trials with settings of their own
REPEATS = 10
_FOLDS = 5
_TREES = 50
_DRAWS = 5  # other values that each held-out trial gets in place of its own
_LEAST_SKILL = 0.1  # share of the variance; forests reach less on scores that depend on nothing
_COLUMNS = ("key", "importance", "low", "high")


def importance(trials: pd.DataFrame, space: Mapping[str, Any], *, objective: str, seed: int) -> pd.DataFrame:
    """Permutation importance (Breiman, "Random Forests", Machine Learning 45, 2001) on trials that are held out.

    A forest learns the rank of the score, which a few diverged trials do not dominate, from the values of four fifths
    of the trials; on the others it is asked once with their own values and once with one key's values drawn from all
    trials. Trials with the same settings are held out together. Where the search gave trials different numbers of
    epochs, ranks are among trials with as many, and the forest sees the epochs besides.

    Args:
        trials: As `tuning.report.trials.read_trials` gives them.
        space: Searched key -> JSON form of its values.
        objective: What the score is, for the words of a refusal.
        seed: Of folds, forests and drawn values.

    Returns:
        Columns `key`, `importance`, `low` and `high`, most important first: the share of the variance of held-out
        ranks that the forest explains with the key and not without it, as mean, 5 % and 95 % quantile over repeated
        cuts. `attrs` hold `trials` (how many were used) and `skill` (the share explained with all keys). Empty where
        the trials cannot tell; `attrs["why"]` then says why in a sentence.
    """
    done = completed(trials)
    axes = [axis_of(done, key, dimension) for key, dimension in space.items() if f"hp:{key}" in done]
    axes = [axis for axis in axes if axis.varied]
    groups, scores = settings_numbers(done), _comparable(done)
    if why := _too_little(groups, scores, [axis.key for axis in axes], objective):
        return _refusal(why)
    values = np.column_stack([axis.heights for axis in axes] + _epochs(done))
    skill, drops = _repeated(values, scores, groups, keys=len(axes), seed=seed)
    if skill < _LEAST_SKILL:
        return _refusal(
            f"a random forest explains {max(100 * skill, 0):.0f} % of the ranks of trials that it has not "
            f"seen, hardly more than guessing does; {len(done)} trials do not tell which hyperparameter matters"
        )
    low, high = np.quantile(drops, (0.05, 0.95), axis=0)
    table = pd.DataFrame({"key": [a.key for a in axes], "importance": drops.mean(axis=0), "low": low, "high": high})
    table = table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    table.attrs = {"trials": len(done), "skill": skill}
    return table


def _refusal(why: str) -> pd.DataFrame:
    table = pd.DataFrame(columns=list(_COLUMNS))
    table.attrs = {"why": why}
    return table


def _too_little(groups: np.ndarray, scores: np.ndarray, keys: Sequence[str], objective: str) -> str:
    count = len(np.unique(groups))
    if count < FEWEST:
        return f"it takes at least {FEWEST} scored trials with different settings, and the study has {count}"
    if not keys:
        return "no hyperparameter has two different values"
    if np.ptp(scores) <= 1e-12:
        return f"all trials have the same {objective}"
    return ""


def _comparable(done: pd.DataFrame) -> np.ndarray:
    """Ranks of the scores, from 0 to 1, among trials with as many epochs, shape (trials,)."""
    alike = done["epochs_asked"].fillna(0) if several_epochs(done) else pd.Series(0, index=done.index)
    groups = done["score"].groupby(alike.to_numpy())
    return ((groups.rank() - 0.5) / groups.transform("size")).to_numpy(dtype=float)


def _epochs(done: pd.DataFrame) -> list[np.ndarray]:
    return [done["epochs_asked"].fillna(0).to_numpy(dtype=float)] if several_epochs(done) else []


def _repeated(
    values: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, keys: int, seed: int
) -> tuple[float, np.ndarray]:
    """Cross-validate the forest several times.

    Args:
        values: (trials, columns); the first `keys` columns are hyperparameters.
        scores: (trials,).
        groups: (trials,) numbers of settings that are held out together.
        keys: Number of hyperparameters.
        seed: Of everything random.

    Returns:
        Share of the variance explained, and what each key adds to it in each repeat, shape (repeats, keys).
    """
    rng = np.random.default_rng(seed)
    skills, drops = [], []
    for _ in range(REPEATS):
        errors = np.zeros(keys + 1)
        cut = GroupKFold(_FOLDS, shuffle=True, random_state=int(rng.integers(2**31)))
        for train, held in cut.split(values, groups=groups):
            errors += _held_out_errors(values, scores, train, held, keys=keys, rng=rng)
        shares = errors / ((scores - scores.mean()) ** 2).sum()
        skills.append(1 - shares[0])
        drops.append(shares[1:] - shares[0])
    return float(np.mean(skills)), np.array(drops)


def _held_out_errors(
    values: np.ndarray, scores: np.ndarray, train: np.ndarray, held: np.ndarray, *, keys: int, rng: np.random.Generator
) -> np.ndarray:
    """Summed squared errors on held-out trials: with all values, then with each key's drawn anew, shape (1 + keys,)."""
    forest = RandomForestRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=int(rng.integers(2**31)))
    forest.fit(values[train], scores[train])
    asked = np.tile(values[held], (1 + keys * _DRAWS, 1, 1))  # (versions, held, columns)
    for key in range(keys):
        versions = slice(1 + key * _DRAWS, 1 + (key + 1) * _DRAWS)
        asked[versions, :, key] = rng.choice(values[:, key], size=(_DRAWS, len(held)))
    answers = forest.predict(asked.reshape(-1, values.shape[1])).reshape(len(asked), len(held))
    squared = ((answers - scores[held]) ** 2).sum(axis=1)
    return np.concatenate([squared[:1], squared[1:].reshape(keys, _DRAWS).mean(axis=1)])
