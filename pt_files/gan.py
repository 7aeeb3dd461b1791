"""`python -m pt_files.gan`: learn one rare emotion's train faces with a DCGAN and write new ones as a data source.

The faces are those that a run with the same data, seed and split settings trains on; its validation and test faces are
never seen, and what was seen is recorded, so that a run can refuse faces that know its judges (`--generated FOLDER`).
"""

import argparse
import dataclasses
import errno
import logging
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from hierarchy.config import DataConfig, RunConfig, apply_flags, check_value, fields_of
from hierarchy.errors import UserError
from hierarchy.taxonomy import canonical_emotion
from pt_files.gan_config import SIDE_STEP, SIZE, GanConfig

PROGRAM = "pt_files.gan"
_NOT_OURS = ("generated", "limit")  # flags of a run that make no sense here
_FULL_OR_LOCKED = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)


class _Parser(argparse.ArgumentParser):
    """argparse without its two-line errors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the flags")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 2 bad input, 130 interrupted.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with _notes_on_screen():
            _run(vars(_parser().parse_args(argv)), shlex.join(["python", "-m", PROGRAM, *argv]))
    except UserError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno not in _FULL_OR_LOCKED:
            raise
        return _fail(f"{error.filename or 'a file'}: {error.strerror}")
    except KeyboardInterrupt as error:
        print(f"interrupted; {str(error) or 'nothing was left behind'}", file=sys.stderr)
        return 130
    return 0


def _fail(message: str) -> int:
    print(f"{PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


@contextmanager
def _notes_on_screen() -> Iterator[None]:
    """Show every warning of ours as one line on stderr."""
    log, screen = logging.getLogger("hierarchy"), logging.StreamHandler()
    screen.setLevel(logging.WARNING)
    screen.setFormatter(logging.Formatter("note: %(message)s"))
    log.addHandler(screen)
    try:
        yield
    finally:
        log.removeHandler(screen)


def _run(given: dict[str, Any], command: str) -> None:
    emotion, out, resume = canonical_emotion(given.pop("emotion")), given.pop("out"), given.pop("resume")
    own = {name: given.pop(name) for name in fields_of(GanConfig) if name in given}
    gan = GanConfig(**{name: check_value(GanConfig, name, value, _flag(name)) for name, value in own.items()})
    config = _with_size(apply_flags(RunConfig(), given))
    if find_spec("torch") is None:
        raise UserError("PyTorch is not installed; pip install -r pt_files/requirements.txt")
    from pt_files.gan_job import make_faces

    make_faces(emotion, gan, config, out=out, resume=resume, command=command)
    print(f"faces: {out}")


def _with_size(config: RunConfig) -> RunConfig:
    size = config.data.image_size or SIZE
    if size % SIDE_STEP:
        raise UserError(f"--image-size {size}: the network draws sides that are a multiple of {SIDE_STEP}")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=size))


def _parser() -> _Parser:
    parser = _Parser(
        prog=f"python -m {PROGRAM}",
        description="Learn one emotion's train faces with a DCGAN and write new ones, for --generated.",
        epilog=f"example: python -m {PROGRAM} --data data/fer2013 --emotion disgust --out data/generated-disgust",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=110),
    )
    own = parser.add_argument_group("faces to make")
    own.add_argument("--emotion", required=True, metavar="EMOTION", help="emotion to learn")
    own.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="new folder for the faces")
    own.add_argument("--resume", action="store_true", default=False, help="go on after an interruption")
    _add_flags(own, GanConfig, fields_of(GanConfig))
    same = parser.add_argument_group("the run that they are for", "Its own settings: they decide which faces train.")
    _add_flags(same, RunConfig, ["seed"])
    _add_flags(same, DataConfig, [name for name in fields_of(DataConfig) if name not in _NOT_OURS])
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _add_flags(group: Any, part: type, names: Iterable[str]) -> None:
    for name in names:
        spec = fields_of(part)[name]
        text = spec.metadata["help"] + ("" if spec.default in (None, ()) else f" (default: {spec.default})")
        if name == "image_size":
            text = f"side of the faces in pixels, a multiple of {SIDE_STEP} (default: {SIZE})"
        if isinstance(spec.default, bool):
            group.add_argument(_flag(name), action=argparse.BooleanOptionalAction, help=text)
        else:
            metavar = spec.metadata["metavar"] or "|".join(spec.metadata["choices"])
            group.add_argument(_flag(name), metavar=metavar or name.upper(), help=text)


if __name__ == "__main__":
    sys.exit(main())
