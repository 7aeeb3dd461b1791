"""The command line of PyTorch training: parse the arguments into a configuration, check it, make one call.

python -m fer_hierarchy.pt_files.train --mode flat --data data/fer2013 --name flat-torch

Only light modules are imported here. PyTorch comes in with `pt_files.stage`, once the arguments are valid.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy.hierarchy.cli.console import OneLineParser, add_setting, flag, notes_on_screen, run_program
from fer_hierarchy.hierarchy.cli.flags import Given, refuse_start, start
from fer_hierarchy.hierarchy.config import (
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
    apply_flags,
    differences,
    fields_of,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import COMMAND, LOGS, RESULTS
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.pt_files.limits import IDLE, KERAS_ONLY, LOSSES

PROGRAM = "pt_files.train"
MODULE = f"fer_hierarchy.{PROGRAM}"
_STAGED = "Each takes VALUE for all stages, or STAGE=VALUE,STAGE=VALUE for some (--epochs valence=12,positive=20)."
_GROUPS = {DataConfig: "data", StageConfig: "training", EvaluationConfig: "evaluation", RunConfig: "run"}
_PLACES = {
    "config": ("FILE", "settings to start from, as results/<run>/config.json holds them; flags go over them"),
    "resume": ("RUN", "go on with an interrupted run; no setting may differ from the run's own"),
    "keras": ("NAME", "make a run of Keras of this name of it, too, once both predict alike within 1e-4"),
    "results": ("DIR", "where run folders are (default: results/)"),
    "logs": ("DIR", "where run.log goes (default: logs/)"),
}
_TEXTS = {
    "model": "NAME or NAME:key=value:... of a network that PyTorch has, see pt_files/README.md; or timm:NAME",
    "loss": f"what training minimises; here {', '.join(LOSSES)}",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_program(PROGRAM, lambda: _run(argv))


def _run(argv: list[str]) -> None:
    given = vars(_parser().parse_args(argv))
    with notes_on_screen():
        target = _keras_target(given)
        folder = _train(given, shlex.join(["python", "-m", MODULE, *argv]))
        if target:
            _make_keras_run(folder, target)
    print(f"report: {folder / 'report.html'}")


def _keras_target(given: Given) -> Path | None:
    """The folder of the run that `--keras` names; refused now, not after hours of training, where it is taken."""
    if "keras" not in given:
        return None
    name, results = given.pop("keras"), Path(given.get("results", RESULTS))
    if name == given.get("name") or run_folder.is_taken(results / name):
        raise UserError(f"--keras {name}: a run has this name already; choose another one")
    run_folder.check_name(name, results, option=flag("keras"))
    if str(given.get("model", "")).startswith("timm:"):
        raise UserError(f"--keras {name}: {given['model']} has no Keras twin; choose another --model")
    return results / name


def _make_keras_run(folder: Path, target: Path) -> None:
    from fer_hierarchy.pt_files.convert import convert_run

    target = target.with_name(run_folder.marked(target.name, synthetic=bool(Run(folder).metrics["synthetic"])))
    difference = convert_run(folder, target)
    print(f"{target}: a run of Keras; its logits differ by {difference:.1e} at most on made-up faces")


def _train(given: Given, command: str) -> Path:
    places = {"results": Path(given.pop("results", RESULTS)), "logs": Path(given.pop("logs", LOGS))}
    for folder in places.values():
        run_folder.check_writable(folder)
    run = _checked_resume(given, places["results"]) if "resume" in given else None
    config = RunConfig() if run else _settings(given, places["results"])
    from fer_hierarchy.hierarchy.training import pipeline
    from fer_hierarchy.pt_files.stage import TorchStage

    if run:
        return pipeline.resume_run(run, TorchStage, flags=given, **places, command=command)
    return pipeline.train_run(config, TorchStage, **places, command=command)


def _checked_resume(given: Given, results: Path) -> str:
    """The run to go on with; a setting that differs from its own is refused."""
    refuse_start(given, "run")
    run = given.pop("resume")
    saved = Run(run, results=results).config
    if changed := differences(saved, apply_flags(saved, given)):
        raise UserError(f"--resume {run} keeps the run's own settings; leave out what differs: {'; '.join(changed)}")
    return run


def _settings(given: Given, results: Path) -> RunConfig:
    """Defaults, then the file, then the flags, checked as far as neither data nor PyTorch is needed."""
    config = apply_flags(start(given, results), given)
    run_folder.check_name(config.name, results)
    return config


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        usage=f"python -m {MODULE} [--mode flat|hierarchical] [--data PATH] [flags]",
        description=f"Train with PyTorch what {COMMAND[-1]} trains with Keras; the run folders can be compared.",
        epilog=f"example: python -m {MODULE} --mode flat --data data/fer2013 --name flat-torch",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    for part, title in _GROUPS.items():
        group = parser.add_argument_group(title, _STAGED if part is StageConfig else None)
        for name in fields_of(part):
            if name != "framework":
                add_setting(group, part, name, text=_text(name))
    places = parser.add_argument_group("program")
    for name, (metavar, text) in _PLACES.items():
        places.add_argument(flag(name), metavar=metavar, help=text)
    return parser


def _text(name: str) -> str | None:
    """Help where it differs; what PyTorch leaves to Keras is hidden, but taken, so that it can be refused by name."""
    return argparse.SUPPRESS if name in (*KERAS_ONLY, *IDLE, "trunk") else _TEXTS.get(name)


if __name__ == "__main__":
    sys.exit(main())
