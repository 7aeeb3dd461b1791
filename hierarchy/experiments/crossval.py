"""A cross-validation as a grid of seed and fold: every fold is the test split of one run, and repeats shuffle again.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.config import DataConfig, RunConfig, apply_flags, check_value
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.experiments import grid
from fer_hierarchy.hierarchy.experiments.grid import FOLD, MOST_CELLS, SEED, Grid

KIND = "crossval"  # as --mode calls it
FOLDS = 5
MOST_REPEATS = 100


def plan(
    start: RunConfig,
    flags: Mapping[str, Any],
    *,
    repeats: Any,
    check: Callable[[RunConfig], RunConfig],
    command: str,
) -> Grid:
    """One run for each fold of each repeat; repeat r has the seed of the first plus r - 1.

    Args:
        start: Defaults, or what a file holds.
        flags: Field name -> what the user gave, `folds` and `seed` among them.
        repeats: How often the folds are made, as it was typed.
        check: As for `hierarchy.experiments.grid.plan`.
        command: The command line.

    Raises:
        UserError: Folds, repeats or settings that cannot be.
    """
    folds = check_value(DataConfig, "folds", flags.get("folds", start.data.folds or FOLDS), "--folds")
    first = check_value(RunConfig, "seed", flags.get(SEED, start.seed), "--seed")
    times = check_repeats(repeats)
    if folds * times > MOST_CELLS:
        raise UserError(
            f"{folds} folds x {times} repeats are {folds * times:,} runs; at most {MOST_CELLS:,} are trained"
        )
    common = {**{name: value for name, value in flags.items() if name != SEED}, "folds": str(folds)}
    check(apply_flags(start, {**common, FOLD: "1"}))  # an error of every run names none of them
    axes = {
        SEED: tuple(str(first + number) for number in range(times)),
        FOLD: tuple(str(number) for number in range(1, folds + 1)),
    }
    return dataclasses.replace(grid.plan(start, common, axes, check=check, command=command), kind=KIND)


def check_repeats(value: Any) -> int:
    """`--repeats` as a number.

    Raises:
        UserError: It is none from 1 to 100.
    """
    text = str(value)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_REPEATS):
        raise UserError(f"--repeats: expected a whole number from 1 to {MOST_REPEATS}, got {value!r}")
    return int(text)


def size(planned: Grid) -> str:
    """`5 folds`, or `5 folds x 2 repeats = 10 runs`."""
    folds, repeats = len(planned.axes[FOLD]), len(planned.axes[SEED])
    return f"{folds} folds" if repeats == 1 else f"{folds} folds x {repeats} repeats = {folds * repeats} runs"


def are_crossvals(names: Sequence[str], results: Path) -> bool:
    """Whether what is to be compared are cross-validations; runs and cross-validations do not mix.

    Raises:
        UserError: Some are, and some are not.
    """
    known = [name for name in names if any(grid.kind_of(place) == KIND for place in (Path(name), results / name))]
    if known and len(known) < len(names):
        other = next(name for name in names if name not in known)
        raise UserError(f"{known[0]} is a cross-validation and {other} is none; compare two of a kind")
    return bool(known)


def refuse_changes(folder: Path, flags: Mapping[str, Any], repeats: Any) -> None:
    """Refuse to resume a cross-validation with other settings than its own.

    Args:
        folder: Its folder.
        flags: Field name -> what the user gave besides `--resume`.
        repeats: What the user gave as `--repeats`, or None.

    Raises:
        UserError: Something differs.
    """
    axes = grid.read_grid(folder).axes
    start = f"--resume {folder.name} keeps its own settings; leave out what differs:"
    if repeats is not None and check_repeats(repeats) != len(axes[SEED]):
        raise UserError(f"{start} repeats: {len(axes[SEED])} -> {repeats}")
    own = axes[SEED][0]
    if SEED in flags and str(check_value(RunConfig, "seed", flags[SEED], "--seed")) != own:
        raise UserError(f"{start} seed: {own} -> {flags[SEED]}")
    grid.refuse_changes(folder, {name: value for name, value in flags.items() if name != SEED}, ())
