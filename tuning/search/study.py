"""A study, one search of one stage: what its study.json and best.json hold, and where it is.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.config import RunConfig, StageConfig, apply_flags, check_value, differences, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import LOGS, is_file
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.tuning.settings import SearchConfig
from fer_hierarchy.tuning.space.dimension import IMAGE_SIZE, Dimension, section_of

STUDY = "study.json"
BEST = "best.json"
TRIALS = "trials.csv"
REMEASURED = "remeasured.csv"
ORACLE = "oracle"
FORMAT = 1
STAGE_STUDY = "stage"
STUDIES = LOGS / "tuning"

# What may change when a search is resumed: its length, not its subject.
_EXTENDABLE = ("max_trials", "budget", "remeasure")
# What is elsewhere in the record, or belongs to other searches.
_APART = ("stage", "space", "controls", "implied")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search of one stage.

    Attributes:
        name: Folder below the studies' folder.
        stage: Whose hyperparameters are searched.
        config: Everything else about the trainings; mode, data, size and epochs are settled.
        search: How it is searched, with the objective given.
        space: Searched key -> its values.
        taxonomy: The grouping over the emotions of the data.
        data: Data set, fingerprint of all faces and numbers of rows.
        synthetic: Whether the faces are drawn by a program.
        command: The command line.
        notes: What a reader of the report must know.
    """

    name: str
    stage: str
    config: RunConfig
    search: SearchConfig
    space: Mapping[str, Dimension]
    taxonomy: Taxonomy
    data: Mapping[str, Any]
    synthetic: bool
    command: str
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> StageConfig:
        """The stage's settings before anything is drawn."""
        return self.config.for_stage(self.stage)

    @property
    def objective(self) -> str:
        """The validation score of the search: what the user requested, or what is usual for the stage."""
        return self.search.objective or ("balanced_accuracy" if self.stage == self.taxonomy.gate else "macro_f1")

    @property
    def epochs(self) -> int:
        """Of a training whose epochs are not searched; 0 until they are settled."""
        return self.settings.epochs or 0

    @property
    def image_size(self) -> int:
        """Height and width in pixels of faces whose size is not searched; 0 until it is settled."""
        return self.config.data.image_size or 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Class order of the stage."""
        return self.taxonomy.stage_classes(self.stage)

    @property
    def key(self) -> str:
        """16 hex digits over all that a trial's score depends on; another key is another study."""
        return self.key_of(dataclasses.asdict(self.search), self.config.to_dict())

    def key_of(self, search: Mapping[str, Any], config: Mapping[str, Any]) -> str:
        """The key, of settings as a record has them: one of an earlier version lacks those that came later."""
        search = {k: v for k, v in search.items() if k not in (*_EXTENDABLE, *_APART)}
        config = {k: v for k, v in config.items() if k not in ("name", "evaluation", "data", "trunk")}
        decisive = {
            "stage": self.stage,
            "search": search,
            "config": config,
            "image_size": self.config.data.image_size,
            "channels": self.config.data.channels,
            "align": self.config.data.align,
            "space": {name: dimension.to_json() for name, dimension in sorted(self.space.items())},
            "taxonomy": self.taxonomy.to_dict(),
            "excluded": list(self.config.data.left_out),
            "fingerprint": self.data["fingerprint"],
            "splits": self.data["splits"],
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        search = dataclasses.asdict(self.search)
        return {
            "format": FORMAT,
            "kind": STAGE_STUDY,
            "name": self.name,
            "stage": self.stage,
            "gate": self.taxonomy.gate,
            "classes": list(self.classes),
            "command": self.command,
            "seed": self.config.seed,
            "synthetic": self.synthetic,
            "key": self.key,
            "search": {name: value for name, value in search.items() if name not in _APART},
            "data": dict(self.data),
            "taxonomy": self.taxonomy.to_dict(),
            "excluded": list(self.config.data.left_out),
            "space": {name: dimension.to_json() for name, dimension in self.space.items()},
            "config": self.config.to_dict(),
            "notes": list(self.notes),
        }


def read_study(folder: Path) -> Study:
    """What study.json holds.

    Raises:
        UserError: It is missing, damaged, of another version, or edited.
    """
    path = folder / STUDY
    record = run_folder.read_json(path)
    if record.get("format", FORMAT) != FORMAT:
        raise UserError(f"{path}: format {record['format']!r} is not the {FORMAT} that this version reads")
    if record.get("kind", STAGE_STUDY) != STAGE_STUDY:
        raise UserError(f"{folder.name} is a search of a {record['kind']}, not of a stage")
    try:
        search = {name: check_value(SearchConfig, name, v, f"{path}: {name}") for name, v in record["search"].items()}
        space = {name: Dimension.from_json(name, value, str(path)) for name, value in record["space"].items()}
        study = Study(
            name=record["name"],
            stage=record["stage"],
            config=RunConfig.from_dict(record["config"], source=str(path)),
            search=SearchConfig(stage=record["stage"], **search),
            space=space,
            taxonomy=Taxonomy.from_dict(record["taxonomy"], name=record["taxonomy"].get("name", "study")),
            data=record["data"],
            synthetic=record["synthetic"],
            command=record["command"],
            notes=tuple(record["notes"]),
        )
        known = study.stage in (FLAT, *study.taxonomy.stages("hierarchical"))
        intact = known and study.key_of(record["search"], record["config"]) == record["key"]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r} is missing or of the wrong kind") from error
    if not intact:
        raise UserError(f"{path} was edited: it is not what the search was started with; start a new one")
    return study


def kind_of(folder: Path) -> str:
    """What a study searches: `stage`, `composition` or `taxonomy`."""
    return str(run_folder.read_json(folder / STUDY).get("kind", STAGE_STUDY))


def find_studies(name: str, studies: Path) -> list[Path]:
    """The folder of a study, given as a path or a name below `studies`, or those of all stages of a search.

    Raises:
        UserError: There is none.
    """
    for place in (Path(name), studies / name):
        if is_file(place / STUDY):
            return [place]
        stages = sorted(path.parent for path in place.parent.glob(f"{place.name}-*/{STUDY}"))
        if stages := [path for path in stages if _of_group(path, place.name)]:
            return stages
    known = ", ".join(sorted(path.parent.name for path in studies.glob(f"*/{STUDY}"))) or "none"
    raise UserError(f"no study {name!r} here or in {studies}; there are: {known}")


def _of_group(folder: Path, group: str) -> bool:
    """Whether a study is what `--stage all --name GROUP` made: named by the group and its stage."""
    try:
        record = run_folder.read_json(folder / STUDY)
    except UserError:
        return False
    return folder.name == f"{group}-{record.get('stage')}"


def stage_config(config: RunConfig, stage: str) -> RunConfig:
    """The configuration as one stage's search needs it: of the mode that has the stage."""
    mode = FLAT if stage == FLAT else "hierarchical"
    known = Taxonomy.stages(config.grouping(), mode)
    stages = {name: values for name, values in config.stages.items() if name in known}
    return dataclasses.replace(config, mode=mode, stages=stages)


def stages_named(stage: str, config: RunConfig) -> tuple[str, ...]:
    """The stages that `--stage` means.

    Raises:
        UserError: The taxonomy has no such stage.
    """
    known = (*config.grouping().stages("hierarchical"), FLAT)
    if stage == "all":
        return known
    if stage not in known:
        raise UserError(f"--stage: expected one of {', '.join(known)}, all, composition or taxonomy, got {stage!r}")
    return (stage,)


def extended(study: Study, flags: Mapping[str, Any], search_flags: Mapping[str, Any]) -> Study:
    """The study with more trials or time, as `--resume` allows.

    Args:
        study: As it was started.
        flags: Settings of the training that the user gave besides.
        search_flags: Settings of the search that the user gave besides.

    Raises:
        UserError: Something else than the length of the search differs.
    """
    start = f"--resume {study.name} keeps its own settings; leave out what differs:"
    if changed := differences(study.config, apply_flags(study.config, flags)):
        raise UserError(f"{start} {'; '.join(changed)}")
    for name, value in search_flags.items():
        own = study.stage if name == "stage" else getattr(study.search, name)
        if name == "space" or (name not in _EXTENDABLE and value not in (own, "all")):
            raise UserError(f"{start} --{name.replace('_', '-')} ({own} -> {value})")
    longer = {"budget": None, **{name: value for name, value in search_flags.items() if name in _EXTENDABLE}}
    return dataclasses.replace(study, search=dataclasses.replace(study.search, **longer))


def read_best(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a best.json.

    Returns:
        The stage, and its settings that the search found: fields of `StageConfig`, and `image_size` if it was searched.

    Raises:
        UserError: It is missing or damaged, of another kind, or holds a bad setting.
    """
    if not path.is_file():
        raise UserError(f"--hyperparameters: {path} is missing; the search has no finished trial yet")
    record = run_folder.read_json(path)
    if record.get("kind") != STAGE_STUDY:
        use = {"composition": "--mode evaluate RUN --composition", "taxonomy": "--taxonomy with the study's JSON file"}
        way = use.get(str(record.get("kind")), "a study of a stage")
        raise UserError(f"--hyperparameters: {path} holds no hyperparameters of a stage; use {way}")
    try:
        values, stage, known = dict(record["hyperparameters"]), record["stage"], fields_of(StageConfig)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error!r} is missing or of the wrong kind") from error
    if (unknown := next((name for name in values if name not in (*known, IMAGE_SIZE)), None)) is not None:
        raise UserError(f"{path}: unknown setting {unknown!r}; known: {', '.join(known)}")
    return stage, {k: check_value(section_of(k), k, value, f"{path}: {k}") for k, value in values.items()}


def with_hyperparameters(config: RunConfig, given: Sequence[str], studies: Path) -> RunConfig:
    """A run's settings with what searches found for its stages.

    Args:
        config: What the run starts from.
        given: best.json files, names of studies, or names of searches over all stages.
        studies: Folder of the studies.

    Raises:
        UserError: Nothing found, two for one stage, one for a stage that the run has not, or image sizes that differ.
    """
    data, stages = config.data, dict(config.stages)
    searched: dict[str, str] = {}
    sizes: dict[int, Path] = {}
    for text in given:
        for path, stage, settings in _found(text, config.grouping().stages(config.mode), studies):
            if stage in searched:
                raise UserError(f"--hyperparameters: {searched[stage]} and {path} are both of {stage}")
            if size := settings.pop(IMAGE_SIZE, None):
                sizes[size] = path
                data = dataclasses.replace(data, image_size=size)
            stages[stage] = {**stages.get(stage, {}), **settings}
            searched[stage] = str(path)
    if len(sizes) > 1:
        named = ", ".join(f"{size} ({path})" for size, path in sizes.items())
        raise UserError(f"--hyperparameters: all stages of a run see faces of one size; these were found for {named}")
    return dataclasses.replace(config, data=data, stages=stages, searched={**config.searched, **searched})


def _found(text: str, known: Sequence[str], studies: Path) -> list[tuple[Path, str, dict[str, Any]]]:
    """(path, stage, settings) of what one value of `--hyperparameters` means for a run of the stages `known`."""
    paths = [Path(text)] if is_file(text) else [folder / BEST for folder in find_studies(text, studies)]
    found = [(path, *read_best(path)) for path in paths]
    if fitting := [best for best in found if best[1] in known]:
        return fitting
    stages = ", ".join(stage for _, stage, _ in found)
    raise UserError(f"--hyperparameters {text} is for stage {stages}; the stages of this run are {', '.join(known)}")
