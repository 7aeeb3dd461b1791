"""First weights from another training: find them, and the faces that they saw; copy the backbone."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, check_value
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import HISTORY, MODEL, SPLITS, STAGES
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.taxonomy import TRUNK
from fer_hierarchy.models.registry import NO_WEIGHTS, PRETRAINED

if TYPE_CHECKING:
    import keras

NAMED = (NO_WEIGHTS, *PRETRAINED)  # weights that are no file
HEAD = "predictions"

log = logging.getLogger("fer_hierarchy")


def resolve_weights(config: RunConfig, results: Path) -> RunConfig:
    """`config` with every `weights` that names a run's stage or a file as the path of a .keras file.

    Raises:
        UserError: There is no such file.
    """

    def found(settings: Mapping[str, Any]) -> dict[str, Any]:
        given = settings.get("weights", NO_WEIGHTS)
        return {
            **settings,
            **({} if given in NAMED else {"weights": str(find_weights(given, results))}),
        }

    stage = dataclasses.replace(config.stage, **found({"weights": config.stage.weights}))
    return dataclasses.replace(config, stage=stage, stages={name: found(own) for name, own in config.stages.items()})


def resolve_teachers(config: RunConfig, results: Path) -> RunConfig:
    """`config` with the runs that teach as the paths of their folders.

    Raises:
        UserError: There is no such run, or one is given twice.
    """
    if not config.data.teachers:
        return config
    try:
        folders = [str(Run(name, results=results).folder.resolve()) for name in config.data.teachers]
    except UserError as error:
        raise UserError(f"--teacher: {error}") from error
    teachers = check_value(DataConfig, "teacher", folders, "--teacher")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, teacher=teachers))


def find_weights(given: str, results: Path) -> Path:
    """The .keras file that `RUN/STAGE`, a stage folder or a path means.

    Raises:
        UserError: There is none.
    """
    run, _, stage = given.rstrip("/").rpartition("/")
    folders = (Path(given), Path(run) / STAGES / stage, results / run / STAGES / stage)
    trunks = (folder.parent / TRUNK / MODEL for folder in folders if folder.is_dir())  # of stages that share one
    places = (Path(given), *(folder / MODEL for folder in folders), *trunks)
    found = next((place for place in places if place.is_file() and place.suffix == ".keras"), None)
    if found is None:
        raise UserError(
            f"--weights {given}: no such weights; expected {', '.join(NAMED)}, RUN/STAGE of a finished stage "
            f"(below {results} or as a path) or a .keras file"
        )
    return found


def weights_name(weights: str) -> str:
    """`RUN/STAGE` of a .keras file in a run folder; none and names of pretrained weights stay."""
    if weights in NAMED:
        return weights
    path = PureWindowsPath(weights)  # which knows the separators of all systems
    return f"{path.parent.parent.parent.name}/{path.parent.name}"


def note_first_weights(weights: Mapping[str, str]) -> None:
    """Note for the report which stages begin with weights of another training.

    Args:
        weights: Stage -> `none`, a name of `PRETRAINED` or a .keras file.
    """
    for file in dict.fromkeys(given for given in weights.values() if given != NO_WEIGHTS):
        named = ", ".join(stage for stage, given in weights.items() if given == file)
        if file in PRETRAINED:
            log.warning("First weights of %s: %s, %s.", named, file, PRETRAINED[file].origin)
            continue
        known = Path(file).with_name(HISTORY).is_file()
        log.warning("First weights of %s: %s.", named, weights_name(file) if known else Path(file).name)


def origins(weights: Iterable[str], teachers: Iterable[str] = ()) -> dict[str, Path]:
    """The splits.csv of each training that another builds on, by the flag that named it.

    Args:
        weights: `none`, names of `PRETRAINED` or .keras files.
        teachers: Run folders.
    """
    runs = {f"--weights {file}": Path(file).parent.parent.parent for file in weights if file not in NAMED}
    runs |= {f"--teacher {Path(folder).name}": Path(folder) for folder in teachers}
    return {given: folder / SPLITS for given, folder in runs.items()}


def with_fresh_head(trained: "keras.Model", fresh: "keras.Model", *, source: str) -> "keras.Model":
    """The trained backbone, its own scaling of pixels included, under the head of a fresh model.

    Args:
        trained: Of the same architecture as `fresh`; its head may have another number of classes, and its faces
            another size where no weight's shape depends on that.
        fresh: Built from the settings.
        source: What errors call the trained model.

    Raises:
        UserError: The networks differ in more than the head.
    """
    import keras  # here: the command line imports this module before the arguments are valid

    needed, found = _weight_shapes(fresh), _weight_shapes(trained)
    differing = next((name for name in (*needed, *found) if needed.get(name) != found.get(name)), None)
    if differing or fresh.input_shape[-1] != trained.input_shape[-1]:
        what = f"layer {differing!r} differs" if differing else f"it takes {trained.input_shape[1:]} pixels"
        raise UserError(
            f"--weights {source}: it is not the same network ({what}); "
            "use the same --model, --image-size and --channels"
        )
    if fresh.input_shape != trained.input_shape:
        trained = _of_size(trained, fresh.input_shape[1:])
    old, new = trained.get_layer(HEAD), fresh.get_layer(HEAD)
    head = keras.layers.Dense(new.units, dtype=new.dtype, name=HEAD)
    return keras.Model(trained.input, head(old.input), name=fresh.name)


def _of_size(trained: "keras.Model", shape: tuple[int, int, int]) -> "keras.Model":
    """The same layers and weights for faces of another size."""
    import keras  # here: the command line imports this module before the arguments are valid

    resized = keras.models.clone_model(trained, input_tensors=keras.Input(shape, name=trained.input.name))
    resized.set_weights(trained.get_weights())
    return resized


def _weight_shapes(model: "keras.Model") -> dict[str, list[tuple[int, ...]]]:
    """Shapes of the weights of every layer that has some, the head left out."""
    layers = [layer for layer in model.layers if layer.weights and layer.name != HEAD]
    return {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in layers}
