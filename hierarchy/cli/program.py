"""The command line: parse the arguments into a configuration, check it, make one call.

Only light modules are imported here. TensorFlow comes in with the pipeline, once the arguments are valid.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fer_hierarchy import __version__
from fer_hierarchy.hierarchy.cli.console import OneLineParser, add_setting, flag, notes_on_screen, run_program
from fer_hierarchy.hierarchy.cli.flags import (
    Given,
    did_you_mean,
)
from fer_hierarchy.hierarchy.cli.modes import MODES, OTHER_FLAGS, REPEATED, Mode
from fer_hierarchy.hierarchy.cli.results import fetch
from fer_hierarchy.hierarchy.config import (
    DataConfig,
    EvaluationConfig,
    RunConfig,
    StageConfig,
)
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CALL, COMMAND, LOGS, RESULTS
from fer_hierarchy.hierarchy.printing import show
from fer_hierarchy.hierarchy.reports.paper import figures_to
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.training.workers import WorkerConfig
from fer_hierarchy.inference.settings import ExportConfig, FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.tuning.search.study import STUDIES
from fer_hierarchy.tuning.settings import SearchConfig

_GROUPS = {
    FaceConfig: "faces",
    PredictConfig: "predictions",
    WebcamConfig: "live",
    ExportConfig: "export",
    SearchConfig: "search",
    WorkerConfig: "trainings at once",
    DataConfig: "data",
    StageConfig: "training",
    EvaluationConfig: "evaluation",
    RunConfig: "run",
}
_STAGED = "Each takes VALUE for all stages, or STAGE=VALUE,STAGE=VALUE for some (--epochs valence=12,positive=20)."

_WORDS = {
    "run": "name of a run below results/, or its folder",
    "input": "a picture, a video, a folder, a pattern, an http(s) address of a picture, or - for a list on stdin",
}


def run(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 1 done but for some of many files, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return run_program(COMMAND[-1], lambda: _dispatch(argv))


def _dispatch(argv: list[str]) -> None:
    if "--version" in argv:
        print(f"fer-hierarchy {__version__}")
        return
    name = _mode_named(argv)
    if name is None and ("--help" in argv or "-h" in argv):
        print(_overview())
        return
    mode = MODES[name or "hierarchical"]
    _check_flags(argv, name or "hierarchical")
    parser = _parser(mode)
    if "--help" in argv or "-h" in argv:
        print(parser.format_help(), end="")
        return
    given = _given(parser, mode, argv)
    figures = given.pop("figures", None)
    if figures is not None:
        run_folder.check_writable(Path(figures), "figures")
    # Cells of two grids have the same names, and so may a run and a study.
    below = [given["results"]] if "results" in given else []
    below += [given["study_dir"].parent] if "study_dir" in given else []
    with notes_on_screen(), figures_to(None if figures is None else Path(figures), below=below):
        folder = mode.call(given, shlex.join([*COMMAND, *argv]))
    if folder is not None:
        show(f"data: {folder}" if mode.call is fetch else f"report: {folder / 'report.html'}")


def _mode_named(argv: list[str]) -> str | None:
    first = OneLineParser(add_help=False, allow_abbrev=False)
    first.add_argument("--mode")
    name = first.parse_known_args(argv)[0].mode
    if name is not None and name not in MODES:
        raise UserError(f"--mode: expected one of {', '.join(MODES)}, got {name!r}{did_you_mean(name, MODES)}")
    return name


def _check_flags(argv: list[str], name: str) -> None:
    """Refuse flags that the mode has not, before argparse takes their values for something else."""
    known = flags_of(MODES[name])
    end = argv.index("--") if "--" in argv else len(argv)
    for word in argv[:end]:
        flag = word.partition("=")[0]
        if not re.match(r"--?[A-Za-z]", flag) or flag in known:
            continue
        owners = [other for other, mode in MODES.items() if flag in flags_of(mode)]
        if owners:
            raise UserError(f"{flag} does not belong to --mode {name}; it belongs to {', '.join(owners)}")
        raise UserError(f"unknown flag {flag}{did_you_mean(flag, known)}; --mode {name} --help lists all")


def _given(parser: argparse.ArgumentParser, mode: Mode, argv: list[str]) -> Given:
    arguments, extra = parser.parse_known_intermixed_args(argv)
    given = vars(arguments)
    if empty := next(
        (name for name, value in given.items() if "" in (value if isinstance(value, list) else [value])), None
    ):
        raise UserError(f"{flag(empty)}: expected something, got ''")
    words = [*given.pop(_words_of(mode), []), *extra]
    low, high = mode.runs
    if words and high == 0:
        hint = f"; write --mode {words[0]}" if words[0] in MODES else "; every setting is a flag"
        raise UserError(f"unexpected argument {words[0]!r}{hint}")
    if len(words) < low or (high is not None and len(words) > high):
        most = f"one {mode.noun}" if low == high == 1 else f"at most {high} {mode.noun}{'s' * (high != 1)}"
        wanted = most if high is not None else f"at least {low} {mode.noun}{'s' * (low > 1)}"
        raise UserError(f"expected {wanted}, got {len(words)}; for example: {CALL} {mode.example}")
    defaults = {"results": RESULTS, "logs": LOGS, "study_dir": STUDIES}
    places = {key: Path(given.get(key, defaults[key])) for key in mode.others if key in defaults}
    for key, folder in places.items():
        run_folder.check_writable(folder, flag(key)[2:])
    return {**given, **places, **({_words_of(mode): words} if high != 0 else {})}


def flags_of(mode: Mode) -> tuple[str, ...]:
    """Every flag of a mode as it is typed, `--mode` and `--help` included."""
    return tuple(o for action in _parser(mode)._actions for o in action.option_strings)


def _words_of(mode: Mode) -> str:
    """The key of the words beside the flags."""
    return f"{mode.noun}s"


def _parser(mode: Mode) -> argparse.ArgumentParser:
    name = next(name for name, known in MODES.items() if known is mode)
    parser = OneLineParser(
        prog=f"{CALL}",
        usage=f"{CALL} --mode {name}{_runs_usage(mode)} [flags]",
        description=f"{mode.summary[0].upper()}{mode.summary[1:]}.",
        epilog=f"example: {CALL} {mode.example}",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    if mode.runs[1] != 0:
        parser.add_argument(_words_of(mode), nargs="*", metavar=mode.noun.upper(), help=_WORDS[mode.noun])
    for part, names in mode.fields.items():
        group = parser.add_argument_group(_GROUPS[part], _STAGED if part is StageConfig else None)
        for field_name in names:
            add_setting(group, part, field_name, text=mode.texts.get(field_name))
    places = parser.add_argument_group("program")
    places.add_argument("--mode", choices=list(MODES), help="what to do (default: hierarchical)")
    for other in mode.others:
        metavar, text = OTHER_FLAGS[other]
        how = REPEATED.get(other, {}) | ({"metavar": metavar} if metavar else {"action": "store_true"})
        places.add_argument(flag(other), help=mode.texts.get(other, text), **how)
    return parser


def _runs_usage(mode: Mode) -> str:
    word = mode.noun.upper()
    usual: dict[tuple[int, int | None], str] = {
        (0, 0): "",
        (0, 1): f" [{word}]",
        (1, 1): f" {word}",
        (0, 2): f" [{word} [{word}]]",
    }
    return usual.get(mode.runs, f" {' '.join([word] * mode.runs[0])} [{word} ...]")


def _overview() -> str:
    modes = "\n".join(f"  {name:<13} {mode.summary}" for name, mode in MODES.items())
    examples = "\n".join(f"  {CALL} {mode.example}" for mode in MODES.values())
    return (
        f"usage: {CALL} [--mode MODE] [flags]\n\n"
        "Train, compose and evaluate a hierarchy of emotion classifiers.\n\n"
        f"modes:\n{modes}\n\nexamples:\n{examples}\n\n"
        f"{CALL} --mode MODE --help shows the flags of a mode, {CALL} --version the version."
    )
