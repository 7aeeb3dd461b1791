"""Which hyperparameters a score depends on: what a random forest loses without the values of one of them."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold

from fer_hierarchy.tuning.report.trials import axis_of, completed, settings_numbers, several_epochs
from fer_hierarchy.tuning.search.trial_table import HP
from fer_hierarchy.tuning.space.dimension import Dimension

FEWEST = 8  # completed trials with settings of their own
REPEATS = 10
_FOLDS = 5
_TREES = 50
_PERMUTATIONS = 2  # in each repeat
_LEAST_SKILL = 0.1  # share of the variance; forests reach less on scores that depend on nothing
_COLUMNS = ("key", "importance", "low", "high")


class _UnseenForests(RegressorMixin, BaseEstimator):
    """A random forest for each fold; every trial is predicted by the forest that was fitted without it."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, values: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Self:
        """Fit the forests; trials of one group are in one fold."""
        folds = GroupKFold(_FOLDS, shuffle=True, random_state=self.seed)
        self.folds_ = [
            (unseen, self._forest().fit(values[seen], scores[seen]))
            for seen, unseen in folds.split(values, groups=groups)
        ]
        return self

    def _forest(self) -> RandomForestRegressor:
        return RandomForestRegressor(_TREES, min_samples_leaf=2, max_features=0.5, random_state=self.seed)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predictions of the trials of `fit`, in their order, whose values may have been permuted."""
        predicted = np.empty(len(values))
        for unseen, forest in self.folds_:
            predicted[unseen] = forest.predict(values[unseen])
        return predicted


def importance(trials: pd.DataFrame, space: Mapping[str, Dimension], *, objective: str, seed: int) -> pd.DataFrame:
    """Permutation importance (Breiman, "Random Forests", Machine Learning 45, 2001) on trials that are left out.

    A forest is fitted to the rank of the score, which a few diverged trials do not dominate, on four fifths of the
    trials and predicts the others, once with their own values and then with one key's values permuted among all trials.
    Trials with the same settings are left out together. Where the search gave trials different numbers of epochs, ranks
    are among trials with as many, and the epochs are an input of the forest too.

    Args:
        trials: As `tuning.search.trial_table.read_trials` gives them.
        space: Searched key -> its values.
        objective: What the score is, for the words of a refusal.
        seed: Of folds, forests and permutations.

    Returns:
        Columns `key`, `importance`, `low` and `high`, most important first: the share of the variance of left-out
        ranks that the forest explains with the key and not without it, as mean, 5 % and 95 % quantile over repeated
        cuts. `attrs` hold `trials` (how many were used) and `skill` (the share explained with all keys). Empty where
        the trials do not show it; `attrs["why"]` is then the reason in a sentence.
    """
    done = completed(trials)
    axes = [axis_of(done, dimension) for key, dimension in space.items() if f"{HP}{key}" in done]
    axes = [axis for axis in axes if axis.varied] if len(done) else []
    groups, ranks = settings_numbers(done), _ranks(done)
    if (count := len(np.unique(groups))) < FEWEST:
        return _refusal(f"it takes at least {FEWEST} scored trials with different settings, and the study has {count}")
    if not axes:
        return _refusal("no hyperparameter has two different values")
    if np.ptp(ranks) <= 1e-12:
        return _refusal(f"all trials have the same {objective}")
    epochs = [done["epochs_asked"].fillna(0).to_numpy(dtype=float)] if several_epochs(done) else []
    values = np.column_stack([axis.heights for axis in axes] + epochs)
    skill, drops = _repeated(values, ranks, groups, seed=seed)
    if skill < _LEAST_SKILL:
        return _refusal(
            f"a random forest explains {max(100 * skill, 0):.0f} % of the ranks of trials that it has not "
            f"seen, hardly more than guessing does; {len(done)} trials do not show which hyperparameter matters"
        )
    low, mean, high = np.quantile(drops, 0.05, axis=0), drops.mean(axis=0), np.quantile(drops, 0.95, axis=0)
    found = [(axis.key, mean[i], low[i], high[i]) for i, axis in enumerate(axes)]
    table = pd.DataFrame(found, columns=list(_COLUMNS))
    table = table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
    table.attrs = {"trials": len(done), "skill": skill}
    return table


def _refusal(why: str) -> pd.DataFrame:
    table = pd.DataFrame(columns=list(_COLUMNS))
    table.attrs = {"why": why}
    return table


def _ranks(done: pd.DataFrame) -> np.ndarray:
    """Ranks of the scores, from 0 to 1, among trials with as many epochs, shape (trials,)."""
    alike = done["epochs_asked"].fillna(0) if several_epochs(done) else pd.Series(0, index=done.index)
    groups = done["score"].groupby(alike.to_numpy())
    return ((groups.rank() - 0.5) / groups.transform("size")).to_numpy(dtype=float)


def _repeated(values: np.ndarray, ranks: np.ndarray, groups: np.ndarray, *, seed: int) -> tuple[float, np.ndarray]:
    """Cross-validate the forests several times.

    Returns:
        Share of the variance explained, and what each column of `values` adds to it, shape (repeats, columns).
    """
    skills, drops = [], []
    for cut in np.random.default_rng(seed).integers(2**31, size=REPEATS):
        forests = _UnseenForests(seed=int(cut)).fit(values, ranks, groups)
        skills.append(r2_score(ranks, forests.predict(values)))
        found = permutation_importance(
            forests, values, ranks, scoring="r2", n_repeats=_PERMUTATIONS, random_state=int(cut)
        )
        drops.append(found.importances_mean)
    return float(np.mean(skills)), np.array(drops)
