"""`Run`: everything that the folder of a run holds, read here and nowhere else, each file when it is first needed."""

import dataclasses
import logging
import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fer_hierarchy.hierarchy.config import RunConfig, load_config
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import (
    COMMAND,
    CONFIG,
    ENVIRONMENT,
    FEATURES,
    HISTORY,
    METRICS,
    PREDICTIONS,
    REPORT,
    RESULTS,
    SPLITS,
    STAGE_RECORD,
    STAGES,
    VALIDATION_PREDICTIONS,
)
from fer_hierarchy.hierarchy.runs.run_folder import read_json, read_table
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

if TYPE_CHECKING:  # the command line imports this module before the arguments are valid
    import numpy as np
    import pandas as pd

    from fer_hierarchy.hierarchy.classifiers.stage import Stage
    from fer_hierarchy.hierarchy.data.faces import Faces
    from fer_hierarchy.hierarchy.evaluation.conformal import Guarantee

FORMAT = 1
_METRICS: dict[str, type | tuple[type, ...]] = {
    "mode": str,
    "seed": int,
    "synthetic": bool,
    "taxonomy": dict,
    "headline": str,
    **dict.fromkeys(("answers", "stages", "data", "training"), dict),
    "cost": (dict, type(None)),
}
_NAMES = ("row", "true", "predicted", "route")  # columns of text in both tables of predictions
_SPLIT_COLUMNS = ("row", "emotion", "split", "source", "subject", "pixel_hash")  # row is the manifest's id
_MOST_ROWS = 100_000  # of a data set that is listed again for the sake of a few pictures
_SIZE = 96  # pixels of a picture, where the run's settings name no size

log = logging.getLogger("fer_hierarchy")

_Stage = TypeVar("_Stage", bound="Stage")


class ResultFolder:
    """A folder that the program wrote, with a report.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def report_html(self) -> Path:
        """The report as one self-contained page."""
        return self.folder / REPORT

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


class Run(ResultFolder):
    """A run, an evaluation or an ensemble.

    Every property raises a `UserError` of one line where its file is missing or damaged.

    Args:
        run: Name or folder.
        results: Folder of all runs, where a name is searched for.

    Raises:
        UserError: There is no such run.
    """

    def __init__(self, run: str | Path, *, results: str | Path = RESULTS) -> None:
        super().__init__(_found(str(run), Path(results)))

    @property
    def finished(self) -> bool:
        """Whether it has been evaluated; `resume` goes on with one that has not."""
        return (self.folder / METRICS).is_file()

    @cached_property
    def config(self) -> RunConfig:
        """The settings that it was started with."""
        return load_config(self.folder / CONFIG)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Command, versions and machine; empty where they were not recorded."""
        path = self.folder / ENVIRONMENT
        return read_json(path) if path.is_file() else {}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Scores with intervals, data, cost and notes, as metrics.json holds them.

        Raises:
            UserError: The run is not finished, or the file is damaged.
        """
        path = self.folder / METRICS
        if not self.finished:
            raise UserError(f"{self.name} is not finished: it has no {METRICS}; {self._remedy}")
        try:
            record = read_json(path)
        except UserError as error:
            raise UserError(f"{error}; {self._remedy}") from error
        absent = next((key for key in _METRICS if key not in record), None)
        if absent:
            raise UserError(f"{path} is damaged: it has no {absent!r}; {self._remedy}")
        wrong = next((key for key, kinds in _METRICS.items() if not isinstance(record[key], kinds)), None)
        if wrong:
            raise UserError(f"{path} is damaged: its {wrong!r} is {record[wrong]!r}; {self._remedy}")
        if record.get("format") != FORMAT:
            raise UserError(f"{path}: format {record.get('format')!r}, not {FORMAT}; {self._remedy}")
        return record

    @property
    def scores(self) -> dict[str, Any]:
        """The scores of the headline prediction: top1, balanced_accuracy, macro_f1, per_class, intervals, ..."""
        return self.metrics["answers"][self.metrics["headline"]]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores must know."""
        return tuple(self.metrics.get("notes", ()))

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The grouping, without excluded and absent emotions."""
        return Taxonomy.from_dict(self.metrics["taxonomy"], name=self.name)

    @property
    def classes(self) -> tuple[str, ...]:
        """The emotions in class order."""
        return self.taxonomy.emotions

    @property
    def train_counts(self) -> dict[str, int]:
        """Emotion -> train faces."""
        return self.metrics["data"]["counts"]["train"]

    @property
    def real_train_counts(self) -> dict[str, int]:
        """Emotion -> train faces that no network made."""
        if not self.config.data.generated or self.faces_by_id.empty:
            return self.train_counts
        from fer_hierarchy.hierarchy.data.train_only import GENERATED  # here: as in `faces_by_id`

        rows = self.splits[(self.splits["split"] == "train") & (self.splits["source"] != GENERATED)]
        return rows["emotion"].value_counts().to_dict()

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """A row a test face: row (its id), true, predicted, route, p_<emotion>, gate_<group>, given_<emotion>."""
        return self._read_predictions(PREDICTIONS)

    @cached_property
    def validation_predictions(self) -> "pd.DataFrame":
        """The same for the validation faces."""
        return self._read_predictions(VALIDATION_PREDICTIONS)

    @property
    def calibration_predictions(self) -> "pd.DataFrame":
        """Those of the validation faces that calibrate: all, or the half that did not choose the epoch."""
        table = self.validation_predictions
        if not self.config.calibration_apart:
            return table
        from fer_hierarchy.hierarchy.data.splits import calibrates  # here: as in `faces_by_id`

        people = self.subjects.to_dict()
        persons = [people.get(row, row) for row in table["row"]]
        return table[calibrates(table["row"], table["true"], persons, seed=self.config.seed)]

    @cached_property
    def guarantee(self) -> "Guarantee | None":
        """What its calibration faces let it promise; None where the folder has not kept their predictions."""
        if not (self.folder / VALIDATION_PREDICTIONS).is_file():
            return None
        from fer_hierarchy.hierarchy.classifiers.coverage import guarantee_of  # here: as in `faces_by_id`

        data = str(self.metrics["data"].get("dataset", self.name))
        apart = self.config.calibration_apart
        return guarantee_of(self.calibration_predictions, self.taxonomy, data=data, apart=apart)

    @cached_property
    def splits(self) -> "pd.DataFrame":
        """A row a face: row (its id), emotion, split, source, subject, pixel_hash."""
        return read_splits(self.folder)

    @cached_property
    def faces_by_id(self) -> "pd.DataFrame":
        """The splits indexed by id; empty for an ensemble, which has none."""
        import pandas as pd  # here: the command line imports this module before the arguments are valid

        empty = pd.DataFrame(columns=list(_SPLIT_COLUMNS), dtype=str)
        return (self.splits if (self.folder / SPLITS).is_file() else empty).set_index("row")

    @property
    def subjects(self) -> "pd.Series":
        """Id -> "source/subject" of the faces of known people: two data sets may both have a subject S005."""
        faces = self.faces_by_id[self.faces_by_id["subject"] != ""]
        return faces["source"] + "/" + faces["subject"] if "source" in faces else faces["subject"]

    @cached_property
    def history(self) -> "dict[str, pd.DataFrame]":
        """Trained network -> a row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, ..."""
        return {stage: self.history_of(stage) for stage in self.stages_begun}

    @property
    def stages_begun(self) -> tuple[str, ...]:
        """The trained networks that have epochs on record."""
        return tuple(file.parent.name for file in self._stage_files(HISTORY))

    def history_of(self, stage: str) -> "pd.DataFrame":
        """One of `history`."""
        return _read_history(self.folder / STAGES / stage / HISTORY)

    @cached_property
    def stage_records(self) -> dict[str, dict[str, Any]]:
        """Stage -> stage.json, of the stages that are complete."""
        return {file.parent.name: read_json(file) for file in self._stage_files(STAGE_RECORD)}

    @cached_property
    def features(self) -> "dict[str, pd.DataFrame]":
        """Stage -> row, emotion, x, y of its feature map, where it has one."""
        return {file.parent.name: _read_feature_map(file) for file in self._stage_files(FEATURES)}

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it trained, the gate first; none for an evaluation or an ensemble."""
        return tuple(self.metrics["training"]) if (self.folder / STAGES).is_dir() else ()

    def require_networks(self) -> None:
        """Refuse a folder without networks of its own.

        Raises:
            UserError: It is an evaluation or an ensemble.
        """
        if not self.finished or (self.folder / STAGES).is_dir():
            return
        if self.metrics["mode"] == "evaluation":
            run = self.metrics["trained_on"]["run"]
            raise UserError(f"{self.name} is an evaluation; name the run that it evaluated: {run}")
        if self.metrics["mode"] == "ensemble":
            members = ", ".join(self.metrics["members"])
            raise UserError(f"{self.name} is an ensemble, which has no networks; name one of its runs: {members}")

    def load_stages(self, stage_type: type[_Stage]) -> dict[str, _Stage]:
        """Its stages by name, the gate first.

        Args:
            stage_type: What loads them.

        Raises:
            UserError: It has none, or a file is missing or damaged.
        """
        self.require_networks()
        home, data = self.folder / STAGES, self.config.data
        stages = stage_type.load_all(home, self.taxonomy.stages(self.config.mode))
        from fer_hierarchy.hierarchy.classifiers.stage import check_classes  # here: as in `faces_by_id`

        check_classes(stages, self.taxonomy, home)
        if data.image_size and data.channels:
            shape = (data.image_size, data.image_size, data.channels + self.config.reads_depth)
            if wrong := next((name for name, stage in stages.items() if not stage.takes(shape)), None):
                raise UserError(
                    f"{home / wrong}: its network takes no faces of {shape}, as {CONFIG} of the run has them"
                )
        return stages

    def pictures(self, ids: Sequence[str]) -> "np.ndarray | None":
        """Read a few of its faces again, for a report.

        Args:
            ids: Of the faces.

        Returns:
            (n, height, width, channels) uint8 in the order of `ids`; None where the data is gone, has changed or is
            large.
        """
        try:
            return self._pictures(list(ids)) if len(self.splits) <= _MOST_ROWS else None
        except (UserError, OSError, ValueError, KeyError) as error:
            log.info("The faces of %s cannot be shown: %s", self.name, error)
            return None

    def _pictures(self, ids: list[str]) -> "np.ndarray | None":
        from fer_hierarchy.hierarchy.data.depth.depth_planes import colours  # here: as in `faces_by_id`
        from fer_hierarchy.hierarchy.data.faces import decode, read_manifest

        manifest = read_manifest(self.config.data)
        requested = manifest[manifest["id"].isin(ids)].reset_index(drop=True)
        settings = dataclasses.replace(self.config.data, skip_bad=False)
        images = decode(requested, settings, with_depth=self.config.reads_depth, size=_SIZE)
        position = [images.manifest["id"].tolist().index(name) for name in ids]
        same = images.manifest["pixel_hash"].to_numpy()[position] == self.faces_by_id["pixel_hash"].loc[ids]
        return colours(images.pixels[position]) if same.all() else None

    def _read_predictions(self, file: str) -> "pd.DataFrame":
        path, taxonomy = self.folder / file, self.taxonomy
        table = read_table(path, text=_NAMES, remedy=self._remedy)
        known = {"true": taxonomy.emotions, "predicted": taxonomy.emotions, "route": taxonomy.group_names}
        problem = _problem(table, [f"p_{emotion}" for emotion in taxonomy.emotions], known)
        if problem:
            raise UserError(f"{path} is damaged: {problem}; {self._remedy}")
        return table

    def _stage_files(self, name: str) -> list[Path]:
        return sorted((self.folder / STAGES).glob(f"*/{name}"))

    @property
    def _remedy(self) -> str:
        """How a file that is missing or damaged is written again."""
        if self.finished and not (self.folder / STAGES).is_dir():
            return "make it again"  # an evaluation, a comparison or an ensemble
        return resume_hint(self.folder, framework=self.config.framework)


def _found(run: str, results: Path) -> Path:
    """The folder of a run, given as a path or as a name below `results`."""
    places = (Path(run), results / run)
    try:
        found = [folder for folder in places if (folder / CONFIG).is_file()]
        folders = [folder for folder in places if folder.is_dir()]
    except OSError as error:  # a name that is too long, or a folder that may not be entered
        raise UserError(f"run {run!r} cannot be read: {error.strerror}; name a run in {results}") from error
    if found:
        return found[0]
    if folders:
        raise UserError(f"{folders[0]} is not a run: it has no {CONFIG}; name a folder that a run made")
    known = sorted(p.parent.name for p in results.glob(f"*/{CONFIG}"))
    raise UserError(f"no run {run!r} here or in {results}; runs there: {', '.join(known) or 'none'}")


def resume_hint(folder: Path, *flags: str, framework: str = "keras", home: Path = RESULTS) -> str:
    """The command that goes on with what was interrupted, as it can be pasted.

    Args:
        folder: Of the run, the grid or the study.
        flags: What the command needs besides.
        framework: What trains it.
        home: The folder whose entries are found by name.
    """
    program = COMMAND if framework == "keras" else ("python", "-m", "fer_hierarchy.pt_files.train")
    name = folder.name if folder.parent == home else str(folder)
    return "go on with: " + shlex.join([*program, *flags, "--resume", name])


def read_splits(folder: Path) -> "pd.DataFrame":
    """splits.csv of a run or a study, as text.

    Raises:
        UserError: It is missing or damaged.
    """
    remedy = f"it needs the columns {', '.join(_SPLIT_COLUMNS)}; start a new run"
    table = read_table(folder / SPLITS, text=_SPLIT_COLUMNS, remedy=remedy)
    needed = [name for name in _SPLIT_COLUMNS if name != "source" or name in table]  # older versions lacked it
    if not set(needed) <= set(table):
        raise UserError(f"{folder / SPLITS} is missing or damaged: {remedy}")
    return table[needed]


def split_table(faces: "Faces") -> "pd.DataFrame":
    """splits.csv: which face stands in which split."""
    table = faces.manifest[["id", *_SPLIT_COLUMNS[1:]]]
    return table.rename(columns={"id": "row"}).sort_values(["split", "row"])


def check_same_faces(folder: Path, faces: "Faces") -> None:
    """Refuse faces that are not those that a run, or a study, was started with.

    Raises:
        UserError: They are not.
    """
    saved = read_splits(folder)
    now = split_table(faces)[list(saved)].astype(str).reset_index(drop=True)
    if not saved.equals(now.astype(saved.dtypes.to_dict())):
        raise UserError(
            f"the data has changed since {folder.name} was started ({folder / SPLITS} differs); start a new run"
        )


def _read_feature_map(path: Path) -> "pd.DataFrame":
    """A features.csv: row, emotion, x, y.

    Raises:
        UserError: It cannot be read as such a table.
    """
    table = read_table(path, text=("row", "emotion"), remedy="evaluate the run again")
    try:
        return table.astype({"x": float, "y": float})[["row", "emotion", "x", "y"]]
    except (ValueError, KeyError) as error:
        raise UserError(f"features {path} are not readable as a table of row, emotion, x, y ({error})") from error


def _read_history(path: Path) -> "pd.DataFrame":
    remedy = f"delete the folder {path.parent}, then --resume trains this stage again"
    table = read_table(path, remedy=remedy)
    try:
        return table.astype(float).astype({"epoch": int})  # refuses a file without that column
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is not readable as a table of numbers ({error}); {remedy}") from error


def _problem(table: "pd.DataFrame", numbers: Sequence[str], known: dict[str, tuple[str, ...]]) -> str | None:
    """What is wrong with a table of predictions; None where nothing is."""
    absent = [name for name in (*_NAMES, *numbers) if name not in table]
    if absent:
        return f"column {absent[0]!r} is missing"
    if table.empty:
        return "it holds no rows"
    probabilities = [name for name in table if name.startswith(("p_", "gate_", "given_"))]
    wrong = [name for name in probabilities if table[name].dtype.kind not in "if"]
    if wrong:
        return f"column {wrong[0]!r} holds something other than numbers"
    twice = table["row"][table["row"].duplicated()]
    if len(twice):
        return f"row {twice.iloc[0]!r} stands there twice"
    for column, names in known.items():
        unknown = table[column][~table[column].isin(names)]
        if len(unknown):
            return f"{column} {unknown.iloc[0]!r} is none of {', '.join(names)}"
    return None
