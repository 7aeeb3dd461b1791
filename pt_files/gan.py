"""Train a DCGAN on one rare emotion's train faces and write new ones as a data source.

python -m fer_hierarchy.pt_files.gan --data data/fer2013 --emotion disgust --out data/generated-disgust

The faces are those that a run with the same data, seed and split settings trains on; its validation and test faces are
never used, and the faces that were used are recorded, so that a run can refuse faces made from those that it evaluates
on (`--generated FOLDER`).
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.cli.console import OneLineParser, add_setting, flag, notes_on_screen, run_program
from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, apply_flags, check_value, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CHECKOUT
from fer_hierarchy.hierarchy.taxonomy import canonical_emotion
from fer_hierarchy.pt_files.gan_config import SIDE_STEP, SIZE, GanConfig

PROGRAM = "pt_files.gan"
MODULE = f"fer_hierarchy.{PROGRAM}"
_NOT_OURS = ("generated", "limit")  # flags of a run that make no sense here


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join(["python", "-m", MODULE, *argv])
    return run_program(PROGRAM, lambda: _run(vars(_parser().parse_args(argv)), command))


def _run(given: dict[str, Any], command: str) -> None:
    emotion, out, resume = canonical_emotion(given.pop("emotion")), given.pop("out"), given.pop("resume")
    own = {name: given.pop(name) for name in fields_of(GanConfig) if name in given}
    gan = GanConfig(**{name: check_value(GanConfig, name, value, flag(name)) for name, value in own.items()})
    config = _with_size(apply_flags(RunConfig(), given))
    if find_spec("torch") is None:
        remedy = "-r pt_files/requirements.txt" if CHECKOUT else "'fer-hierarchy[torch]'"
        raise UserError(f"PyTorch is not installed; pip install {remedy}")
    from fer_hierarchy.pt_files.gan_job import make_faces

    with notes_on_screen():
        make_faces(emotion, gan, config, out=out, resume=resume, command=command)
    print(f"faces: {out}")


def _with_size(config: RunConfig) -> RunConfig:
    size = config.data.image_size or SIZE
    if size % SIDE_STEP:
        raise UserError(f"--image-size {size}: the network draws sides that are a multiple of {SIDE_STEP}")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=size))


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=f"python -m {MODULE}",
        description="Train a DCGAN on one emotion's train faces and write new ones, for --generated.",
        epilog=f"example: python -m {MODULE} --data data/fer2013 --emotion disgust --out data/generated-disgust",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    own = parser.add_argument_group("faces to make")
    own.add_argument("--emotion", required=True, metavar="EMOTION", help="emotion whose faces are wanted")
    own.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="new folder for the faces")
    own.add_argument("--resume", action="store_true", default=False, help="go on after an interruption")
    for name in fields_of(GanConfig):
        add_setting(own, GanConfig, name)
    same = parser.add_argument_group("the run that they are for", "Its own settings: they decide which faces train.")
    add_setting(same, RunConfig, "seed")
    size_text = f"side of the faces in pixels, a multiple of {SIDE_STEP} (default: {SIZE})"
    for name in fields_of(DataConfig):
        if name not in _NOT_OURS:
            add_setting(same, DataConfig, name, text=size_text if name == "image_size" else None)
    return parser


if __name__ == "__main__":
    sys.exit(main())
