"""KerasTuner's oracles, which choose the next trial; their files appear atomically, and damage is one line."""

import json
import math
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.tuning.search.study import ORACLE, Study
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.spaces import combinations, declare

_FACTOR = 3  # of Hyperband: one of so many trials of a rung continues
_UNENDING = 10**9
_ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
_USUAL_TRIALS = 20


class _Atomic(keras_tuner.Oracle):
    """Writes beside and renames, so that a killed search can always be read again."""

    def save(self) -> None:
        """Write oracle.json."""
        _write(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        _write(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())


def _write(path: Path, state: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(state), encoding="utf-8")


class RandomOracle(_Atomic, RandomSearchOracle):
    """Draws every trial at random."""


class BayesianOracle(_Atomic, BayesianOptimizationOracle):
    """Draws where a Gaussian process expects more or knows little."""


class BandOracle(_Atomic, HyperbandOracle):
    """Gives many trials few epochs and the best of them more (Li et al., "Hyperband", JMLR 18, 2018)."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial; a failed one counts as the worst of its rung, where KerasTuner would wait for ever.

        The best of a rung go on once all of it has ended. KerasTuner chooses among those that have ended as soon as it
        can, which of two equal ones would then depend on the number of workers.
        """
        failed = [trial for trial in self.trials.values() if trial.status == TrialStatus.FAILED]
        running = {_rung(trial) for trial in self.ongoing_trials.values()}
        ahead = [t for t in self.trials.values() if t.status in _ENDED and _rung(t) in running]
        before = {trial.trial_id: (trial.status, trial.score) for trial in (*failed, *ahead)}
        worst = math.inf if self.objective.direction == "min" else -math.inf
        for trial in failed:
            trial.status, trial.score = TrialStatus.COMPLETED, worst
        for trial in ahead:
            trial.status = TrialStatus.RUNNING
        try:
            reply = super().populate_space(trial_id)
        finally:
            for trial in (*failed, *ahead):
                trial.status, trial.score = before[trial.trial_id]
        if past := reply.get("values", {}).get("tuner/trial_id"):
            # KerasTuner puts down the bracket that was opened last, which need not be the trial's own.
            reply["values"]["tuner/bracket"] = self.trials[past].hyperparameters.values["tuner/bracket"]
        return reply


def _rung(trial: Trial) -> tuple[Any, Any]:
    """Which trials of Hyperband compete with each other."""
    values = trial.hyperparameters.values
    return values.get("tuner/bracket"), values.get("tuner/round")


class GridOracle(_Atomic):
    """Tries every point, the last key's values fastest.

    KerasTuner's own forgets when it is reloaded which points it has tried, and begins few of them at a time.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:  # noqa: ARG002 - KerasTuner's signature
        """The point whose number is that of the trials started so far."""
        number, values = len(self.start_order), {}
        for key in reversed(self.hyperparameters.space):
            choices = list(key.values)
            number, place = divmod(number, len(choices))
            values[key.name] = choices[place]
        if number:
            return {"status": TrialStatus.STOPPED}
        return {"status": TrialStatus.RUNNING, "values": dict(reversed(values.items()))}


def mend(oracle: keras_tuner.Oracle) -> None:
    """Put right what a process killed between two of KerasTuner's writes left behind; for any reloaded oracle.

    A trial that was written but not started reached nobody and is dropped. One that has ended is not done again. What
    is done again starts without the scores of its first time, which KerasTuner would keep instead of the new ones.
    """
    for trial_id in oracle.trials.keys() - set(oracle.start_order):
        del oracle.trials[trial_id]
    oracle._retry_queue = [i for i in dict.fromkeys(oracle._retry_queue) if i not in oracle.end_order]
    for trial in (oracle.trials[trial_id] for trial_id in oracle._retry_queue):
        trial.metrics = type(trial.metrics)()
    oracle.ongoing_trials = {w: t for w, t in oracle.ongoing_trials.items() if t.trial_id not in oracle.end_order}


def planned_trials(study: Study) -> int:
    """How many trials the search comes to when nobody stops it.

    Raises:
        UserError: A grid over values without steps, or Hyperband with the number of epochs among the searched keys.
    """
    kind, wanted = study.search.tuner, study.search.max_trials
    if kind == "hyperband":
        if "epochs" in study.space:
            raise UserError("--tuner hyperband decides on the epochs itself; leave epochs out of --space")
        return wanted or _band_trials(study.epochs)
    if study.search.early_size:
        raise UserError(f"--early-size {study.search.early_size} is for the rungs of --tuner hyperband, not for {kind}")
    points = combinations(study.space)
    if points is not None:
        return min(wanted or (points if kind == "grid" else _USUAL_TRIALS), points)
    if kind == "grid":
        endless = next(name for name, dimension in study.space.items() if combinations({name: dimension}) is None)
        raise UserError(
            f"--tuner grid: {endless} has no steps; give choices or a step for it in --space FILE "
            '(and "*": null to leave out all that the file does not name)'
        )
    return wanted or _USUAL_TRIALS


def _band_trials(epochs: int) -> int:
    """Trials of all brackets of one Hyperband over so many epochs."""
    oracle = HyperbandOracle(objective=keras_tuner.Objective("score", "max"), max_epochs=epochs, factor=_FACTOR)
    return sum(
        oracle._get_size(bracket, round_num)
        for bracket in range(oracle._get_num_brackets())
        for round_num in range(oracle._get_num_rounds(bracket))
    )


def build_oracle(study: Study) -> keras_tuner.Oracle:
    """The oracle of a study, before any trial."""
    objective = study.objective
    common = {
        "objective": keras_tuner.Objective(objective, OBJECTIVES[objective]),
        "hyperparameters": declare(study.space),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": study.config.seed + 1,  # KerasTuner takes 0 for no seed
        "max_consecutive_failed_trials": _UNENDING,
    }
    trials = planned_trials(study)
    if study.search.tuner == "hyperband":
        rounds = math.ceil(trials / _band_trials(study.epochs))
        oracle = BandOracle(max_epochs=study.epochs, factor=_FACTOR, hyperband_iterations=rounds, **common)
        oracle.max_trials = trials
    elif study.search.tuner == "bayesian":
        # KerasTuner would draw three random trials for each key first, more than most searches have in all.
        first = max(3, min(2 * len(study.space), trials // 3))
        oracle = BayesianOracle(max_trials=trials, num_initial_points=first, **common)
    else:
        kind = {"random": RandomOracle, "grid": GridOracle}[study.search.tuner]
        oracle = kind(max_trials=trials, **common)
    return oracle


def open_oracle(study: Study, folder: Path) -> keras_tuner.Oracle:
    """The oracle of a study as the folder's files have it.

    Args:
        study: What is searched.
        folder: The study's folder. Trials that were running are the next ones to be handed out.

    Raises:
        UserError: The files are damaged.
    """
    oracle = build_oracle(study)
    oracle.verbose = 0
    rounds = getattr(oracle, "hyperband_iterations", None)
    oracle._set_project_dir(str(folder), ORACLE)
    path = Path(oracle._get_oracle_fname())
    if not path.is_file():
        return oracle
    try:
        oracle.reload()
        oracle.trials = dict(sorted(oracle.trials.items(), key=lambda item: int(item[0])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"study {folder.name} is damaged: {path.parent} cannot be read ({error!r}); start a new one"
        ) from error
    oracle.verbose = 0
    if rounds is not None:
        oracle.hyperband_iterations = rounds  # the search may have been made longer
    return oracle
