"""Folders that the program wrote, opened: runs, comparisons, audits and searches."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run_results import VALIDATION_PREDICTIONS, read_metrics
from fer_hierarchy.hierarchy.training.transfer import HISTORY

if TYPE_CHECKING:
    from fer_hierarchy.inference.predictor import Predictor


class Opened:
    """A folder with a report.

    Attributes:
        folder: Where it is.
    """

    record_file = ""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.record_file and not (self.folder / self.record_file).is_file():
            raise UserError(f"{folder} has no {self.record_file}; name a folder that holds a {type(self).__name__}")

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def report_html(self) -> Path:
        """The report as one self-contained page."""
        return self.folder / "report.html"

    @cached_property
    def record(self) -> dict[str, Any]:
        """Everything that the report is made of, as JSON holds it."""
        return run_folder.read_json(self.folder / self.record_file)

    def table(self, file: str, **dtypes: type) -> pd.DataFrame:
        """A csv of the folder.

        Raises:
            UserError: It is missing or damaged.
        """
        path = self.folder / file
        try:
            return pd.read_csv(path, dtype=dtypes, keep_default_na=not dtypes)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged ({str(error).splitlines()[0]})") from error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


class Run(Opened):
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

    record_file = run_folder.CONFIG

    def __init__(self, run: str | Path, *, results: str | Path = "results") -> None:
        super().__init__(run_folder.find_run(str(run), Path(results)))

    @property
    def finished(self) -> bool:
        """Whether it has been evaluated; `resume` goes on with one that has not."""
        return (self.folder / run_folder.METRICS).is_file()

    @cached_property
    def config(self) -> RunConfig:
        """The settings that it was started with."""
        return run_folder.read_config(self.folder)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Scores with intervals, data, cost and notes, as metrics.json holds them.

        Raises:
            UserError: The run is not finished.
        """
        return read_metrics(self.folder)

    @property
    def scores(self) -> dict[str, Any]:
        """The scores of the headline prediction: top1, balanced_accuracy, macro_f1, per_class, intervals, ..."""
        return self.metrics["answers"][self.metrics["headline"]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions in class order."""
        return tuple(self.metrics["emotions"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores must know."""
        return tuple(self.metrics["notes"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row a test face: row (its id), true, predicted, route, p_<emotion>, gate_<group>, given_<emotion>."""
        return self.table(run_folder.PREDICTIONS, row=str, true=str, predicted=str, route=str)

    @cached_property
    def validation_predictions(self) -> pd.DataFrame:
        """The same for the validation faces."""
        return self.table(VALIDATION_PREDICTIONS, row=str, true=str, predicted=str, route=str)

    @cached_property
    def splits(self) -> pd.DataFrame:
        """A row a face: row (its id), emotion, split, source, subject, pixel_hash."""
        return self.table(run_folder.SPLITS, row=str, emotion=str, split=str, source=str, subject=str, pixel_hash=str)

    @cached_property
    def history(self) -> dict[str, pd.DataFrame]:
        """Trained network -> a row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, ..."""
        files = sorted((self.folder / run_folder.STAGES).glob(f"*/{HISTORY}"))
        return {file.parent.name: self.table(str(file.relative_to(self.folder))) for file in files}

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it trained, the gate first; none for an evaluation or an ensemble."""
        return tuple(self.metrics.get("training", {})) if (self.folder / run_folder.STAGES).is_dir() else ()

    @cached_property
    def predictor(self) -> "Predictor":
        """What predicts cut faces with the run's networks; loaded once. `Predictor.load` also finds faces."""
        from fer_hierarchy.inference.predictor import Predictor

        return Predictor.load(self.folder, cropped=True)

    def predict(self, images: np.ndarray | Sequence[np.ndarray]) -> pd.DataFrame:
        """Predict the emotions of cut faces.

        Args:
            images: uint8 (height, width) grey or (height, width, 3) RGB, one or several, of any size.

        Returns:
            A row a face: emotion, probability, the gate's group, route, entropy (bits), p_<emotion>, gate_<group>.

        Raises:
            ValueError: An image of another shape or type, or a run without networks.
        """
        return self.predictor.predict(images)


class Comparison(Opened):
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


class Audit(Opened):
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


class Study(Opened):
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
        return self.table("trials.csv")

    @cached_property
    def best(self) -> dict[str, Any]:
        """The best trial, as best.json holds it.

        Raises:
            UserError: No trial has ended yet.
        """
        return run_folder.read_json(self.folder / "best.json")
