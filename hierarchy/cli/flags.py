"""From the flags that a user gave to checked settings; standard library only, before anything heavy is imported."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.cli.console import flag
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, check_value, fields_of, load_config
from fer_hierarchy.hierarchy.data.sources import EMBEDDED
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import DEFAULT_DATA
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.training.transfer import resolve_teachers, resolve_weights
from fer_hierarchy.hierarchy.training.workers import WorkerConfig

Given = dict[str, Any]  # field name or other flag -> what the user gave


def start(given: Given, results: Path) -> RunConfig:
    """Defaults, or what `--config` holds; adds to `given` what then must not hold any more.

    Raises:
        UserError: The file is missing or damaged.
    """
    config = RunConfig()
    if "config" in given:
        file = given.pop("config")
        if not Path(file).is_file():
            raise UserError(f"--config: {file} is no file; expected a config.json as a run folder holds it")
        config = load_config(Path(file))
        if config.name and (results / config.name).exists() and "name" not in given:
            given["name"] = None  # a run repeated from its own record gets a folder of its own
        if "data" in given:
            given.setdefault("dataset", None)  # the kind in the file is that of other data
    return config


def checked(config: RunConfig, results: Path) -> RunConfig:
    """The settings after every check that needs no framework and no face, first weights and teacher as paths.

    Raises:
        UserError: There is no such model, data, weights or teacher.
    """
    _check_models(config)
    check_data(config.data)
    return resolve_teachers(resolve_weights(config, results), results)


def refuse_start(given: Given, noun: str) -> None:
    """Refuse what a new run would start from where an old one goes on.

    Raises:
        UserError: It is given.
    """
    for name in ("config", "hyperparameters"):
        if name in given:
            raise UserError(f"{flag(name)} does not go with --resume: a resumed {noun} keeps its own settings")


def section(part: type, given: Given) -> Any:
    """A section of the configuration with what the user gave."""
    values = {n: check_value(part, n, given[n], flag(n)) for n in fields_of(part) if n in given}
    return part(**values)


def workers(given: Given) -> WorkerConfig:
    """Take out of `given` how many trainings are made at once, and where."""
    own = section(WorkerConfig, given)
    for name in fields_of(WorkerConfig):
        given.pop(name, None)
    return own


def new_name(given: Given) -> str | None:
    """The name that the user gave for a folder of its own."""
    name = check_value(RunConfig, "name", given.get("name"), "--name")
    run_folder.check_name(name, given["results"])
    return name


def _check_models(config: RunConfig) -> None:
    from fer_hierarchy.models.registry import list_models, parse_spec

    known = list_models()
    for spec in (config.stage.model, *(values["model"] for values in config.stages.values() if "model" in values)):
        try:
            model, _ = parse_spec(spec)
        except ValueError as error:
            raise UserError(f"--model: {error}") from error
        if model not in known:
            raise UserError(f"--model: no model {model!r}; known: {', '.join(known)}{did_you_mean(model, known)}")


def _check_dataset(dataset: str) -> None:
    from fer_hierarchy.hierarchy.data.sources import source_names

    known = source_names()
    if dataset not in known:
        raise UserError(f"--dataset: no kind {dataset!r}; known: {', '.join(known)}{did_you_mean(dataset, known)}")


def check_data(data: DataConfig) -> None:
    """Refuse data that is not there, or of no kind that we know.

    Raises:
        UserError: With what would be right.
    """
    if data.dataset is not None:
        _check_dataset(data.dataset)
    if data.data is not None and data.dataset in EMBEDDED:
        raise UserError(f"--dataset {data.dataset} makes its own faces; leave out --data")
    own = data.dataset == "fer2013" and DEFAULT_DATA.exists()
    if data.data is None and data.dataset not in (None, *EMBEDDED) and not own:
        raise UserError(f"--dataset {data.dataset} needs --data PATH")
    for path in data.paths:
        if not Path(path).exists():
            raise UserError(f"--data: {path} does not exist; expected a folder, csv or zip")
    if data.generated is not None and not Path(data.generated).is_dir():
        raise UserError(f"--generated: {data.generated} is no folder; expected one that pt_files.gan made")
    if data.ferplus is not None and not Path(data.ferplus).is_file():
        raise UserError(f"--ferplus: {data.ferplus} is no file; expected fer2013new.csv or votes by file name")


def require_data(data: DataConfig) -> None:
    """The same, and refuse that none is named.

    Raises:
        UserError: With what would be right.
    """
    check_data(data)
    if data.data is None and data.dataset not in EMBEDDED:
        raise UserError("--data PATH is needed (or --dataset synthetic or synthetic-rgbd for embedded faces)")


def did_you_mean(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """The known word that is nearest to a mistyped one, as the end of an error."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
