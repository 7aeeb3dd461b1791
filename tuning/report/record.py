"""What a study left, read and ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.runs.run_folder import read_json
from fer_hierarchy.tuning.report import figures
from fer_hierarchy.tuning.report.figures import score_text
from fer_hierarchy.tuning.report.importance import importance
from fer_hierarchy.tuning.report.trials import Axis, axis_of, completed, failed, ranked, several_epochs
from fer_hierarchy.tuning.search.study import BEST, REMEASURED, STUDY, TRIALS
from fer_hierarchy.tuning.search.trial_table import HP, read_trials
from fer_hierarchy.tuning.settings import OBJECTIVES
from fer_hierarchy.tuning.space.dimension import Dimension

_OF_STUDY = ("name", "stage", "classes", "command", "seed", "synthetic")
_OF_STUDY += ("search", "data", "taxonomy", "space", "config")
_OF_BEST = ("trial", "score", "hyperparameters", "epochs")


@dataclass(frozen=True)
class StudyRecord(Drawings):
    """A study and where its report goes.

    Attributes:
        study: study.json.
        space: Searched key -> its values.
        trials: trials.csv.
        best: best.json; None while nothing is completed.
        fresh: The trainings of the best trial with fresh seeds that have a score.
    """

    study: Mapping[str, Any]
    space: Mapping[str, Dimension]
    trials: pd.DataFrame
    best: Mapping[str, Any] | None
    fresh: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a study, finished or not; trials.csv, best.json and remeasured.csv may be absent.

        Raises:
            UserError: study.json is missing, or a file is damaged.
        """
        study = _read(folder / STUDY, _OF_STUDY)
        if (objective := study["search"].get("objective")) not in OBJECTIVES:
            raise UserError(f"{folder / STUDY} is damaged: objective {objective!r} is none of {', '.join(OBJECTIVES)}")
        fresh = read_trials(folder / REMEASURED, ("seed", "score"))
        return cls(
            folder=folder,
            synthetic=study["synthetic"],
            study=study,
            space={key: Dimension.from_json(key, v, str(folder / STUDY)) for key, v in study["space"].items()},
            trials=read_trials(folder / TRIALS),
            best=_read(folder / BEST, _OF_BEST) if (folder / BEST).is_file() else None,
            fresh=fresh[np.isfinite(fresh["score"])],
        )

    @property
    def objective(self) -> str:
        """What the search was for."""
        return self.study["search"]["objective"]

    @property
    def model(self) -> str:
        """The model of the stage, before anything is drawn."""
        config, stage = self.study["config"], self.study["stage"]
        return config.get("stages", {}).get(stage, {}).get("model", config["stage"]["model"])

    @property
    def planned(self) -> int | None:
        """How many trials the search was to have."""
        return self.study["search"]["max_trials"]

    @property
    def running(self) -> int:
        """How many trials have not ended."""
        return int((self.trials["status"] == "running").sum())

    @cached_property
    def done(self) -> pd.DataFrame:
        """The completed trials, in their order."""
        return completed(self.trials)

    @cached_property
    def failed(self) -> pd.DataFrame:
        """The trials that ended without a score."""
        return failed(self.trials)

    @property
    def rungs(self) -> bool:
        """Whether the search gave trials different numbers of epochs, as Hyperband does."""
        return several_epochs(self.done)

    @cached_property
    def found(self) -> pd.Series:
        """The best trial; needs a completed one."""
        return ranked(self.trials, self.objective).iloc[0]

    @property
    def best_place(self) -> int:
        """Where the best trial is among the completed ones."""
        return self.done.index.get_loc(self.found.name)

    @property
    def scores(self) -> np.ndarray:
        """Scores of the completed trials, shape (trials,)."""
        return self.done["score"].to_numpy(dtype=float)

    @property
    def remeasured(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the best trial with fresh seeds; of one seed the latter is 0."""
        scores = self.fresh["score"]
        return (scores.mean(), scores.std() if len(scores) > 1 else 0.0) if len(scores) else None

    @property
    def limits(self) -> figures.Limits:
        """The scores that figures show."""
        mean, spread = self.remeasured or (0.0, 0.0)
        return figures.score_limits(self.scores, self.objective, [mean - spread, mean + spread] * bool(self.remeasured))

    @cached_property
    def importance(self) -> pd.DataFrame:
        """What `tuning.report.importance.importance` finds."""
        return importance(self.trials, self.space, objective=self.objective, seed=self.study["seed"])

    @cached_property
    def axes(self) -> list[Axis]:
        """Values of every key that took more than one, the most important first where that is known."""
        order = dict.fromkeys([*self.importance["key"], *self.space])
        axes = [axis_of(self.done, self.space[key]) for key in order if f"{HP}{key}" in self.done and len(self.done)]
        return [axis for axis in axes if axis.varied]

    @property
    def keys(self) -> list[str]:
        """Every searched key that trials.csv has: first those that varied, the most important first."""
        keys = dict.fromkeys([*(axis.key for axis in self.axes), *self.space])
        return [key for key in keys if f"{HP}{key}" in self.trials]

    @property
    def unit(self) -> str:
        """What follows a score."""
        return "" if self.objective == "nll" else " %"

    def text(self, *figures: float) -> str:
        """A score with its unit, or a mean and its standard deviation: `52.0 ± 2.0 %`."""
        return f"{' ± '.join(score_text(figure, self.objective) for figure in figures)}{self.unit}"


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    record = read_json(path)
    if missing := [name for name in needed if name not in record]:
        raise UserError(f"{path} is damaged: {missing[0]} is missing")
    return record
