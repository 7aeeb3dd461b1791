"""The command line of PyTorch training: parse the arguments into a configuration, check it, make one call.

python -m pt_files.train --mode flat --data data/fer2013 --name flat-torch

Only light modules are imported here. PyTorch comes in with `pt_files.stage`, once the arguments are valid.
"""

import argparse
import errno
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field
from pathlib import Path
from typing import Any, NoReturn

from hierarchy import runs
from hierarchy.config import (
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
    apply_flags,
    differences,
    fields_of,
    load_config,
)
from hierarchy.errors import UserError
from hierarchy.paths import LOGS, RESULTS
from pt_files.limits import IDLE, KERAS_ONLY, LOSSES

PROGRAM = "pt_files.train"
_STAGED = "Each takes VALUE for all stages, or STAGE=VALUE,STAGE=VALUE for some (--epochs valence=12,positive=20)."
_GROUPS = {DataConfig: "data", StageConfig: "training", EvaluationConfig: "evaluation", RunConfig: "run"}
_PLACES = {
    "config": ("FILE", "settings to start from, as results/<run>/config.json holds them; flags go over them"),
    "resume": ("RUN", "go on with an interrupted run; no setting may differ from the run's own"),
    "results": ("DIR", "where run folders are (default: results/)"),
    "logs": ("DIR", "where run.log goes (default: logs/)"),
}
_TEXTS = {
    "model": "NAME or NAME:key=value:... of a network that PyTorch has, see pt_files/README.md; or timm:NAME",
    "deterministic": "deterministic kernels: the same seed gives the same weights",
}
_FULL_OR_LOCKED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


class _Parser(argparse.ArgumentParser):
    """argparse without its two-line errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists all flags")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        given = vars(_parser().parse_args(argv))
        with _notes_on_screen():
            folder = _train(given, shlex.join(["python", "-m", PROGRAM, *argv]))
    except UserError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail("out of memory; try a smaller --batch-size, --image-size or --limit")
    except OSError as error:
        if error.errno not in _FULL_OR_LOCKED:
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}")
    except KeyboardInterrupt as error:
        _say(f"interrupted; {str(error) or 'nothing was left behind'}")
        return 130
    print(f"report: {folder / 'report.html'}")
    return 0


def _fail(message: str) -> int:
    _say(f"{PROGRAM}: error: {' '.join(message.split())}")
    return 2


def _say(line: str) -> None:
    """Write the last line, over a line of progress that may stand there unfinished."""
    print("\r\033[K" * sys.stderr.isatty() + line, file=sys.stderr)


@contextmanager
def _notes_on_screen() -> Iterator[None]:
    """Show every warning of ours as one line on stderr; run.log gets the finer messages as well."""
    log, screen = logging.getLogger("hierarchy"), logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("note: %(message)s"))
    before = log.level
    log.addHandler(screen)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(screen)
        log.setLevel(before)


def _train(given: dict[str, Any], command: str) -> Path:
    places = {"results": Path(given.pop("results", RESULTS)), "logs": Path(given.pop("logs", LOGS))}
    for folder in places.values():
        runs.check_writable(folder)
    if "resume" in given:
        run = _checked_resume(given, places["results"])
        from hierarchy import pipeline
        from pt_files.stage import TorchStage

        return pipeline.resume_run(run, TorchStage, flags=given, **places, command=command)
    config = _settings(given, places["results"])
    from hierarchy import pipeline
    from pt_files.stage import TorchStage

    return pipeline.train_run(config, TorchStage, **places, command=command)


def _checked_resume(given: dict[str, Any], results: Path) -> str:
    """The run to go on with; a setting that differs from its own is refused."""
    if "config" in given:
        raise UserError("--config does not go with --resume: a resumed run keeps its own settings")
    run = given.pop("resume")
    saved = runs.read_config(runs.find_run(run, results))
    if changed := differences(saved, apply_flags(saved, given)):
        raise UserError(f"--resume {run} keeps the run's own settings; leave out what differs: {'; '.join(changed)}")
    return run


def _settings(given: dict[str, Any], results: Path) -> RunConfig:
    """Defaults, then the file, then the flags, checked as far as neither data nor PyTorch is needed."""
    config = RunConfig()
    if file := given.pop("config", None):
        if not Path(file).is_file():
            raise UserError(f"--config: {file} is no file; expected a config.json as a run folder holds it")
        config = load_config(Path(file))
        if config.name and (results / config.name).exists():
            given.setdefault("name", None)  # a run repeated from its own record gets a folder of its own
        if "data" in given:
            given.setdefault("dataset", None)  # what the file says of the kind was said of other data
    config = apply_flags(config, given)
    runs.check_name(config.name, results)
    return config


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python -m {PROGRAM}",
        usage=f"python -m {PROGRAM} [--mode flat|hierarchical] [--data PATH] [flags]",
        description="Train with PyTorch what tf_model.py trains with Keras; the run folders can be compared.",
        epilog=f"example: python -m {PROGRAM} --mode flat --data data/fer2013 --name flat-torch",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    for part, title in _GROUPS.items():
        group = parser.add_argument_group(title, _STAGED if part is StageConfig else None)
        for name, field in fields_of(part).items():
            if name != "framework":
                group.add_argument(_flag(name), **_argument(part, name, field))
    places = parser.add_argument_group("program")
    for name, (metavar, text) in _PLACES.items():
        places.add_argument(_flag(name), metavar=metavar, help=text)
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _argument(part: type, name: str, field: Field) -> dict[str, Any]:
    """What argparse is told of a setting: its help with the default, and what stands for the value."""
    default, switch = field.default, isinstance(field.default, bool)
    shown = "" if default in (None, ()) else f" (default: {('off', 'on')[default] if switch else default})"
    text = _TEXTS.get(name, field.metadata["help"]) + shown
    if name in (*KERAS_ONLY, *IDLE):
        text = argparse.SUPPRESS  # taken, so that what is wrong with it can be said
    if switch and part is not StageConfig:
        return {"action": argparse.BooleanOptionalAction, "help": text}
    choices = LOSSES if name == "loss" else ("on", "off") if switch else field.metadata["choices"]
    return {"metavar": field.metadata["metavar"] or "|".join(choices) or name.upper(), "help": text}


if __name__ == "__main__":
    sys.exit(main())
