"""What a study left, read and ready to be shown."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.reports import figures as house
from fer_hierarchy.tuning.report import figures
from fer_hierarchy.tuning.report.figures import score_text
from fer_hierarchy.tuning.report.importance import importance
from fer_hierarchy.tuning.report.trials import HP, Axis, axis_of, best_row, completed, several_epochs


@dataclass(frozen=True)
class StudyRecord:
    """A study and where its report goes.

    Attributes:
        folder: Its folder, with `figures` below it.
        study: study.json.
        trials: trials.csv.
        best: best.json; None while nothing is completed.
        fresh: remeasured.csv.
    """

    folder: Path
    study: Mapping[str, Any]
    trials: pd.DataFrame
    best: Mapping[str, Any] | None
    fresh: pd.DataFrame

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
    def space(self) -> Mapping[str, Any]:
        """Searched key -> JSON form of its values."""
        return self.study["space"]

    @cached_property
    def done(self) -> pd.DataFrame:
        """The completed trials, in their order."""
        return completed(self.trials)

    @cached_property
    def best_place(self) -> int:
        """Where the best trial stands among the completed ones."""
        return self.done.index.get_loc(best_row(self.trials, self.objective).name)

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores of the completed trials, shape (trials,)."""
        return self.done["score"].to_numpy(dtype=float)

    @cached_property
    def window(self) -> figures.Window:
        """The scores that figures show."""
        again = self.again
        others = [again[0] - again[1], again[0] + again[1]] if again else []
        return figures.window_of(self.scores, self.objective, others)

    @property
    def again(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the best trial with fresh seeds; of one seed the latter is 0."""
        scores = self.fresh["score"]
        return (scores.mean(), scores.std() if len(scores) > 1 else 0.0) if len(scores) else None

    @cached_property
    def axes(self) -> list[Axis]:
        """Values of every key that took more than one, the most important first where that is known."""
        order = [*self.importance["key"], *self.space]
        laid = {key: axis_of(self.done, key, self.space[key]) for key in order if f"{HP}{key}" in self.done}
        return [axis for axis in laid.values() if axis.varied]

    @cached_property
    def importance(self) -> pd.DataFrame:
        """What `tuning.report.importance.importance` says."""
        return importance(self.trials, self.space, objective=self.objective, seed=self.study["seed"])

    @property
    def planned(self) -> int | None:
        """How many trials the search was to have."""
        return self.study["search"]["max_trials"]

    def drawing(self, name: str, title: str, width: float, height: float, **grid: object) -> AbstractContextManager:
        """`hierarchy.reports.figures.drawing` into this folder, marked where the faces are synthetic."""
        return house.drawing(
            self.figure(name), title=title, synthetic=self.study["synthetic"], width=width, height=height, **grid
        )

    def figure(self, name: str) -> Path:
        """The path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    @cached_property
    def rungs(self) -> bool:
        """Whether the search gave trials different numbers of epochs, as Hyperband does."""
        return several_epochs(self.done)

    def text(self, score: float) -> str:
        """A score with its unit."""
        return f"{score_text(score, self.objective)}{self.unit}"

    @property
    def unit(self) -> str:
        """What stands behind a score."""
        return "" if self.objective == "nll" else " %"

    @property
    def again_text(self) -> str:
        """The best trial with fresh seeds, without unit; only where it was measured."""
        mean, spread = (score_text(value, self.objective) for value in self.again)
        return f"{mean} ± {spread}" if len(self.fresh) > 1 else mean
