"""Folders that the program wrote, opened: runs, comparisons, audits and searches."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs.run import ResultFolder
from fer_hierarchy.hierarchy.runs.run import Run as StoredRun
from fer_hierarchy.hierarchy.runs.run_folder import read_json, read_table

if TYPE_CHECKING:
    from fer_hierarchy.inference.predictor import Predictor


class Run(StoredRun):
    """A run, an evaluation or an ensemble, by its name below the results folder or by its folder.

    Args:
        run: Name or folder.
        results: Folder of all runs.

    Examples:
        >>> from fer_hierarchy import Run
        >>> first = Run("synthetic-first")
        >>> first.config.mode, first.stages, first.finished
        ('flat', ('flat',), True)
        >>> first.history["flat"]["epoch"].tolist()
        [1]
        >>> int((first.predictions["true"] == "happy").sum()), len(first.classes)
        (22, 7)
        >>> import numpy as np
        >>> first.predict(np.zeros((48, 48), np.uint8))["emotion"].isin(first.classes).tolist()
        [True]

    Raises:
        UserError: There is no such run.
    """

    def __init__(self, run: str | Path, *, results: str | Path = "results") -> None:
        super().__init__(run, results=results)

    @cached_property
    def predictor(self) -> "Predictor":
        """What predicts cut faces with the run's networks; loaded once. `Predictor.load` also finds faces."""
        from fer_hierarchy.inference.predictor import Predictor

        return Predictor.load(self.folder, cropped=True)

    def predict(self, images: Any) -> pd.DataFrame:
        """Predict the emotions of cut faces.

        Args:
            images: Arrays, files, addresses, images of Pillow, one or several, as `Predictor.predict` takes them.

        Returns:
            A row a face: emotion, probability, the gate's group, route, entropy (bits), p_<emotion>, gate_<group>.

        Raises:
            ValueError: An image of another shape or type, or a run without networks.
        """
        return self.predictor.predict(images)


class _Recorded(ResultFolder):
    """A folder whose report is made of one JSON file."""

    record_file: ClassVar[str]

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        if not (self.folder / self.record_file).is_file():
            raise UserError(f"{folder} has no {self.record_file}; name a folder that holds a {type(self).__name__}")

    @cached_property
    def record(self) -> dict[str, Any]:
        """Everything that the report is made of, as JSON holds it."""
        return read_json(self.folder / self.record_file)


class Comparison(_Recorded):
    """Runs beside each other on the same test faces, as `compare` leaves them.

    Examples:
        >>> from fer_hierarchy import Comparison
        >>> list(Comparison("results/synthetic-both").runs.index)
        ['synthetic-first', 'synthetic-second']
    """

    record_file = "comparison.json"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run: top1, balanced_accuracy, macro_f1, ece and what was trained."""
        return pd.DataFrame(self.record["runs"]).set_index("name")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """A row a pair: a, b, and of b minus a: top1 with its 95 % interval (low, high), and McNemar's p."""
        rows = [
            {"a": pair["a"], "b": pair["b"], **_interval(pair["differences"]["top1"]), "p": pair["mcnemar"]["p"]}
            for pair in self.record["pairs"]
        ]
        return pd.DataFrame(rows)


def _interval(difference: Mapping[str, float]) -> dict[str, float]:
    return {"top1": difference["difference"], "low": difference["low"], "high": difference["high"]}


class Audit(_Recorded):
    """What is wrong with a data set, as `audit` leaves it.

    Examples:
        >>> from fer_hierarchy import Audit
        >>> Audit("results/synthetic-audit").altered
        False
    """

    record_file = "audit.json"

    @property
    def altered(self) -> bool:
        """Whether a known data set does not have its published counts or pixels."""
        return self.record["pixels"]["altered"]

    @property
    def known(self) -> tuple[str, ...]:
        """A line for each known data set: as published, or what was done to it."""
        return tuple(self.record["pixels"]["known"])


class Study(_Recorded):
    """A search for hyperparameters, as `tune` leaves it.

    Examples:
        >>> from fer_hierarchy import Study
        >>> len(Study("logs/tuning/synthetic-search").trials)
        1
    """

    record_file = "study.json"

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial, with its score and the values that it tried."""
        return read_table(self.folder / "trials.csv", remedy="search again")

    @cached_property
    def best(self) -> dict[str, Any]:
        """The best trial, as best.json holds it.

        Raises:
            UserError: No trial has ended yet.
        """
        return read_json(self.folder / "best.json")
