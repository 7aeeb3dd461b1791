"""What the program does with data sets and finished runs: from the flags that a user gave to one call."""

from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.cli.flags import Given, check_data, new_name, require_data, section
from fer_hierarchy.hierarchy.config import (
    SPLITS,
    DataConfig,
    EvaluationConfig,
    RunConfig,
    check_value,
)
from fer_hierarchy.hierarchy.data.download import download
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import crossval
from fer_hierarchy.hierarchy.paths import RESULTS, ROOT
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.tuning.command import composition_file


def evaluate(given: Given, command: str) -> Path:
    """Evaluate a finished run on other data."""
    (run,), results = given["runs"], given["results"]
    own = Run(run, results=results).config.data
    # The classes of the run are known, so that --exclude may name them.
    data = section(DataConfig, {"taxonomy": own.taxonomy, "classes": own.classes, **given})
    evaluation = section(EvaluationConfig, given)
    name = new_name(given)
    composition = composition_file(given.get("composition"), given["logs"])
    splits = _splits(given.get("split"))
    require_data(data)
    from fer_hierarchy.hierarchy.training import pipeline
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage

    return pipeline.evaluate_run(
        run,
        KerasStage,
        data=data,
        evaluation=evaluation,
        composition=composition,
        splits=splits,
        robust=bool(given.get("robustness")),
        name=name,
        results=results,
        command=command,
    )


def _splits(text: str | None) -> tuple[str, ...]:
    """The splits that `--split` names, none where it is not given."""
    words = [] if text is None else [word.strip() for word in text.split(",")]
    if unknown := [word for word in words if word not in SPLITS]:
        raise UserError(f"--split: expected some of {', '.join(SPLITS)}, separated by commas, got {unknown[0]!r}")
    return tuple(dict.fromkeys(words))


def _refuse_twice(names: Sequence[str], results: Path, what: str) -> None:
    """Refuse a run that is named twice, by whatever names, and one that is not there."""
    folders = [Run(name, results=results).folder.resolve() for name in names]
    twice = next((name for name, folder in zip(names, folders, strict=True) if folders.count(folder) > 1), None)
    if twice:
        raise UserError(f"run {twice!r} is named twice; {what} needs different runs")


def _evaluation(given: Given, command: str) -> Given:
    """What every evaluation of several runs takes beside their names."""
    return {
        "resamples": section(EvaluationConfig, given).resamples,
        "seed": check_value(RunConfig, "seed", given.get("seed", RunConfig().seed), "--seed"),
        "name": new_name(given),
        "results": given["results"],
        "command": command,
    }


def compare(given: Given, command: str) -> Path:
    """Put runs, or cross-validations, side by side."""
    names, results = given["runs"], given["results"]
    folded = crossval.are_crossvals(names, results)
    if not folded:
        _refuse_twice(names, results, "compare")
    evaluation = _evaluation(given, command)
    from fer_hierarchy.hierarchy.experiments import report

    return (report.compare_crossvals if folded else report.compare_runs)(names, **evaluation)


def ensemble(given: Given, command: str) -> Path:
    """Evaluate the mean of several runs."""
    _refuse_twice(given["runs"], given["results"], "an ensemble")
    evaluation = _evaluation(given, command)
    from fer_hierarchy.hierarchy.experiments.ensembles import pool_runs

    return pool_runs(given["runs"], **evaluation)


def publish(given: Given, command: str) -> Path:
    """Copy a finished run in a form to give away."""
    (run,), results = given["runs"], given["results"]
    source = Run(run, results=results)
    data = section(DataConfig, given)
    check_data(data)
    out = Path(given.get("out") or RESULTS / "published" / source.name)
    if run_folder.is_taken(out):
        raise UserError(f"--out: {out} exists already; name a new folder")
    try:
        run_folder.check_name(out.name, out.parent)
        run_folder.check_writable(out.parent)
    except UserError as error:
        raise UserError(str(error).replace("--name", "--out").replace("--results", "--out")) from error
    mirror = section(EvaluationConfig, given).mirror if "mirror" in given else None
    from fer_hierarchy.hierarchy.publishing.publish import publish_run

    return publish_run(run, out=out, mirror=mirror, data=data, results=results, command=command)


def explain(given: Given, command: str) -> Path:
    """Draw which parts of a face the networks of a finished run predict from."""
    results = given["results"]
    run = next(iter(given["runs"]), None) or default_model(results)
    Run(run, results=results)
    data = section(DataConfig, given)
    images = given.get("image", [])
    name = new_name(given)
    check_data(data)
    for file in images:
        if not Path(file).is_file():
            raise UserError(f"--image: {file} is no file; expected a picture of a face")
    from fer_hierarchy.hierarchy.training.keras_stage import KerasStage
    from fer_hierarchy.inference.explain import dataset

    return dataset.explain_run(run, KerasStage, data=data, images=images, name=name, results=results, command=command)


def audit(given: Given, command: str) -> Path:
    """Report what is wrong with a data set."""
    data = section(DataConfig, given)
    name = new_name(given)
    require_data(data)
    from fer_hierarchy.hierarchy.training import pipeline

    return pipeline.audit_data(data, name=name, results=given["results"], command=command)


def fetch(given: Given, _command: str) -> Path:
    """Fetch a public data set."""
    dataset = given.get("dataset")
    if dataset is None:
        raise UserError("--mode download needs --dataset NAME, for example --dataset fer2013")
    return download(dataset, Path(given.get("to") or ROOT / "data" / dataset))


def list_runs(given: Given, _command: str) -> None:
    """Print the runs of a results folder, and write them as a table where one is wanted."""
    out = given.get("out")
    if out is not None and not (out.endswith(".csv") and Path(out).absolute().parent.is_dir()):
        raise UserError(f"--out: {out}: expected a .csv file in a folder that exists")
    from fer_hierarchy.hierarchy.experiments import listing

    table = listing.run_table(given["results"])
    if out is not None:
        run_folder.write_table(Path(out), table)
    listing.print_runs(table)


def list_models(_given: Given, _command: str) -> None:
    """Print the models."""
    from fer_hierarchy.hierarchy.cli.model_table import print_models

    print_models()
