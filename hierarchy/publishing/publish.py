"""Publishing: a finished run in a form that can be given away: small weights, no pictures, no places of a machine."""

import dataclasses
import math
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.classifiers.stage import Stage, check_classes
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig
from fer_hierarchy.hierarchy.data.faces import Faces, read_faces
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.progress import Progress, announce
from fer_hierarchy.hierarchy.publishing.model_card import CARD, model_card
from fer_hierarchy.hierarchy.reports.page import to_markdown
from fer_hierarchy.hierarchy.reports.run import write_run_report
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run, check_same_faces, split_table
from fer_hierarchy.hierarchy.training.callbacks import save_small_model
from fer_hierarchy.hierarchy.training.earlier import earlier_of, earlier_record
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
from fer_hierarchy.hierarchy.training.pipeline import REPORTING, STEPS, predict_and_score, prediction_work
from fer_hierarchy.hierarchy.training.stages import calibrate_stage
from fer_hierarchy.hierarchy.training.transfer import weights_name
from fer_hierarchy.hierarchy.wording import headline
from fer_hierarchy.models.registry import NO_WEIGHTS

_PLACES = ("--results", "--logs", "--study-dir")  # of a command, left out of what is published
_FOLDERS = ("--data", "--generated", "--ferplus")


def publish_run(
    run: str,
    *,
    out: Path,
    mirror: bool | None,
    data: DataConfig,
    results: Path,
    command: str,
) -> Path:
    """Write a copy of a finished run with small weights, evaluated anew with those.

    Matrices are rounded to half precision. Then each stage is calibrated again on validation faces, and the run is
    evaluated again on its test faces: the figures are those of the weights that are published. The report shows no
    face of the data, and no file names a place outside of this project.

    Args:
        run: Name or folder.
        out: The new folder.
        mirror: Whether the copy predicts the mean over each face and its mirror image; None as the run does.
        data: Where the run's faces and votes are, if they have moved since.
        results: Where runs are looked for by name.
        command: The command line, which goes below that of the training.

    Raises:
        UserError: No finished run, other data, or a folder that exists or cannot be written.
    """
    source = Run(run, results=results)
    source.require_networks()
    trained, config = source.metrics, source.config
    if config.framework != KerasStage.framework:
        raise UserError(f"run {source.name} is of {config.framework}; a run of Keras can be published")
    if mirror is not None:
        config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, mirror=mirror))
    moved = {name: place for name in ("data", "ferplus") if (place := getattr(data, name))}
    with run_folder.collect_notes() as notes, Progress(math.inf, steps=STEPS) as progress:
        faces = read_faces(dataclasses.replace(config, data=dataclasses.replace(config.data, **moved)))
        check_same_faces(source.folder, faces)
        config = _portable(dataclasses.replace(config, name=out.name), _home(config, trained))
        with run_folder.new_folder(out.parent, out.name) as folder:
            _write_facts(folder, source, config, faces, _home(config, trained), command)
            stages = _small_stages(folder, source, config, faces)
            progress.plan(prediction_work(stages, len(faces.split("validation")) + len(faces.split("test"))))
            commands = run_folder.read_json(folder / paths.ENVIRONMENT)["command"]
            record = predict_and_score(folder, config, faces, stages, command=commands)
            places = known_places(source, *(data.paths or ()), data.ferplus or "", results, out)
            every = [placeless(note, places) for note in dict.fromkeys([*source.notes, *notes])]
            record = {**record, "published": _published(folder, source), "notes": every}
            record["cost"] |= earlier_record(earlier_of(source))
            run_folder.write_json(folder / paths.METRICS, record)
            with progress.step(REPORTING):
                write_run_report(folder, faces=None)
            with atomic_write(folder / CARD) as temporary:
                temporary.write_text(to_markdown(model_card(record, config.to_dict()), folder), encoding="utf-8")
    announce(headline(record))
    return folder


def _write_facts(folder: Path, source: Run, config: RunConfig, faces: Faces, dataset: str, command: str) -> None:
    """Configuration, splits, and the environment of the training, with both commands that it takes."""
    commands = (source.environment.get("command", ""), command)
    environment = {**source.environment, "command": "\n".join(portable_command(text, dataset) for text in commands)}
    run_folder.write_json(folder / paths.ENVIRONMENT, environment)
    run_folder.write_table(folder / paths.SPLITS, split_table(faces))
    run_folder.write_json(folder / paths.CONFIG, config.to_dict())


def _small_stages(folder: Path, source: Run, config: RunConfig, faces: Faces) -> Mapping[str, Stage]:
    """Every stage of the run with small weights, calibrated on what they predict."""
    for place in sorted(path for path in (source.folder / paths.STAGES).iterdir() if path.is_dir()):
        target = folder / paths.STAGES / place.name
        target.mkdir(parents=True)
        record = run_folder.read_json(place / paths.STAGE_RECORD)
        run_folder.write_json(
            target / paths.STAGE_RECORD, {**record, "mirror": config.evaluation.mirror, "record": _named(record)}
        )
        if (place / paths.HISTORY).is_file():
            shutil.copy(place / paths.HISTORY, target / paths.HISTORY)
        if record.get("columns") is None:
            save_small_model(KerasStage.load_network(place), target / paths.MODEL, record["classes"])
    stages = KerasStage.load_all(folder / paths.STAGES, faces.taxonomy.stages(config.mode))
    check_classes(stages, faces.taxonomy, folder / paths.STAGES)
    for name, stage in stages.items():
        calibrate_stage(stage, config, faces)
        stage.save(folder / paths.STAGES / name)
    return stages


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a training with the weights that it began with by name."""
    return {**record["record"], "weights": weights_name(record["record"].get("weights", NO_WEIGHTS))}


def _home(config: RunConfig, trained: Mapping[str, Any]) -> str:
    """The folder below data/ that holds a run's faces; --ferplus has those of FER-2013."""
    return "fer2013" if config.data.ferplus else trained["data"]["dataset"]


def _portable(config: RunConfig, dataset: str) -> RunConfig:
    """The configuration with data where the program looks for it, and with runs and studies by name."""
    data = config.data
    teachers = [_last(teacher) for teacher in data.teachers]
    places: dict[str, Any] = {
        "data": None if data.data is None else f"data/{dataset}",
        "ferplus": None if data.ferplus is None else f"data/{_last(data.ferplus)}",
        "generated": None if data.generated is None else f"results/{_last(data.generated)}",
        "teacher": teachers[0] if len(teachers) == 1 else teachers or None,
    }
    return dataclasses.replace(
        config,
        data=dataclasses.replace(data, **places),
        stage=dataclasses.replace(config.stage, weights=weights_name(config.stage.weights)),
        stages={
            name: {**own, **({"weights": weights_name(own["weights"])} if "weights" in own else {})}
            for name, own in config.stages.items()
        },
        searched={
            stage: f"{PureWindowsPath(best).parent.name}/{_last(best)}" for stage, best in config.searched.items()
        },
    )


def portable_command(command: str, dataset: str) -> str:
    """A command as it can be given on any machine that has the data set in data/.

    Args:
        command: The command of a run.
        dataset: Name of its data set.
    """
    words, kept = shlex.split(command), []
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in _PLACES:
            if not equals and words:
                words.pop(0)
        elif flag in _FOLDERS and (equals or words):
            value = value if equals else words.pop(0)
            kept += [flag, f"data/{dataset}" if flag == "--data" else f"data/{_last(value)}"]
        elif flag.startswith("--") and equals:
            kept.append(f"{flag}={_without_places(value)}")
        else:
            kept.append(_without_places(word))
    return shlex.join(kept)


def _without_places(value: str) -> str:
    """The value of a flag, also one of `stage=value,stage=value`, with the last part of each path."""
    parts = []
    for item in re.split(r",(?=[\w-]+=)", value):
        stage, equals, own = item.partition("=") if re.match(r"[\w-]+=", item) else ("", "", item)
        parts.append(stage + equals + (_last(own) if _is_place(own) else own))
    return ",".join(parts)


def _is_place(value: str) -> bool:
    """Whether a value is a path of this or of another system, beyond RUN/STAGE."""
    parts = PureWindowsPath(value).parts  # which knows the separators of both
    return len(parts) > 2 or value.startswith(("/", "~", ".", "\\")) or bool(PureWindowsPath(value).drive)


def _last(path: str) -> str:
    """The last part of a path of this or of another system."""
    return PureWindowsPath(path).name


_START = r"(?:~?/|\\\\|[A-Za-z]:[\\/])"  # how absolute paths begin
# Folders of a path, whose names may hold blanks and brackets: up to the end of a clause or to the next path.
_BELOW = rf"(?:(?:(?![\s,=(]{_START}|[,=:;)]+(?:\s|$))[^\n])*[\\/])?"


def known_places(run: Run, *others: str | Path) -> list[str]:
    """The paths that texts of a run may name, longest first: those of its settings and commands, and others."""
    data, config = run.config.data, run.config
    stages = [config.stage.weights, *(str(own.get("weights", "")) for own in config.stages.values())]
    given = [*data.paths, *data.teachers, data.ferplus, data.generated, *stages, *config.searched.values(), *others]
    words = [
        value for word in shlex.split(run.environment.get("command", "")) for value in (word, *word.split("=")[1:])
    ]
    here = [*map(str, filter(None, given)), *words, str(run.folder), str(Path.home()), str(Path.cwd())]
    above = [str(path) for place in here for path in (PureWindowsPath(place), Path(place)) for path in path.parents]
    resolved = [str(Path(place).absolute()) for place in here]
    places = {place.rstrip("/\\") for place in (*here, *above, *resolved) if _is_place(place)}
    return sorted((place for place in places if len(place) > 3), key=len, reverse=True)


def placeless(text: str, places: Sequence[str]) -> str:
    """A text with the last part of every path among `places`, and of what else begins as an absolute path.

    What follows a path is taken for its folders up to the last separator: rather a word too few than a place.
    """
    for place in places:
        within = rf"{re.escape(place)}(?![\w.-])([\\/]{_BELOW}[^\s,=:;)]*)?"
        text = re.sub(within, lambda found: _last(found[0]), text)
    return re.sub(rf"(?<![\w.]){_START}{_BELOW}", "", text)


def _published(folder: Path, source: Run) -> dict[str, Any]:
    """What was made of which run, and how much of it there is."""
    weights = sorted((folder / paths.STAGES).glob("*/*.keras"))
    return {"run": source.name, "weights": "float16", "bytes": sum(path.stat().st_size for path in weights)}
