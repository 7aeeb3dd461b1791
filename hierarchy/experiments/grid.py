"""A grid of runs: axes of settings, their product as cells, and grid.json, which records them.

Standard library only: the command line imports this before it knows whether its arguments are valid.
"""

import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy import paths
from fer_hierarchy.hierarchy.config import SECTIONS, RunConfig, StageConfig, apply_flags, differences, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.training.transfer import resolve_weights

GRID = "grid.json"
FORMAT = 1
MOST_CELLS = 1000
SEED, FOLD = "seed", "fold"
KIND = "grid"  # as --mode calls it

_NO_AXES = {
    "name": "each cell gets a name of its own, made of its values; --name is the name of the grid",
    "data": "a grid is about one data set; make a grid for each",
    "dataset": "a grid is about one data set; make a grid for each",
    "framework": "this program trains with Keras; --mode compare puts PyTorch runs beside its runs",
    "deterministic": "TensorFlow cannot leave deterministic kernels again within one process",
    "resamples": "it changes how intervals are drawn, not what is trained",
}
_STATE = ("fingerprint", "error")  # of a cell, where they are known
_ON, _OFF = ("on", "true", "yes"), ("off", "false", "no")
_LONGEST_NAME = 120  # letters; the program may set words before and behind


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: Folder below the grid's folder.
        point: Axis -> value as it was typed.
        config: All settings of the run but its name.
        fingerprint: Of its faces, once they are known.
        error: Why it failed, or empty.
    """

    name: str
    point: Mapping[str, str]
    config: RunConfig
    fingerprint: str = ""
    error: str = ""

    @property
    def text(self) -> str:
        """The cell as it was typed: `model=deep_cnn augment=off`."""
        return " ".join(f"{axis}={value}" for axis, value in self.point.items())


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Axes and the product of their values.

    Attributes:
        axes: Field name -> its values as they were typed.
        cells: One for each combination, the last axis fastest.
        command: The command line.
        kind: Which mode made it, and goes on with it.
    """

    axes: Mapping[str, tuple[str, ...]]
    cells: tuple[Cell, ...]
    command: str
    kind: str = KIND

    @property
    def product(self) -> str:
        """The size in words: `8 cells: model (2) x augment (2) x schedule (2)`."""
        factors = " x ".join(f"{axis} ({len(values)})" for axis, values in self.axes.items())
        return f"{len(self.cells)} cell{'s' * (len(self.cells) > 1)}: {factors}"


def parse_axes(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read `NAME=VALUE,VALUE,...`, each a field of the configuration.

    Raises:
        UserError: No values, an axis or a value given twice, or a setting that there is not or that cannot vary.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        axis, values = name.strip().lstrip("-").replace("-", "_"), tuple(value.strip() for value in rest.split(","))
        if not equals or not all(values):
            raise UserError(f"--axis {text}: expected NAME=VALUE,VALUE,..., for example --axis augment=on,off")
        _check_axis(axis, text)
        if axis in axes:
            raise UserError(f"--axis {axis} is given twice; give all its values in one: --axis {axis}=VALUE,VALUE")
        twice = next((value for number, value in enumerate(values) if value in values[:number]), None)
        if twice is not None:
            raise UserError(f"--axis {text}: value {twice!r} is given twice")
        axes[axis] = values
    if not axes:
        raise UserError("a grid needs at least one --axis NAME=VALUE,VALUE, for example --axis augment=on,off")
    return axes


def _check_axis(axis: str, text: str) -> None:
    known = settings()
    if axis not in known:
        close = difflib.get_close_matches(axis, list(known), n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
        raise UserError(f"--axis {text}: no setting {axis!r}{hint}")
    if axis in _NO_AXES:
        raise UserError(f"--axis {text}: {axis} cannot be an axis: {_NO_AXES[axis]}")


def settings() -> dict[str, type]:
    """Every field of the configuration, with the section that holds it."""
    return {name: part for part in (RunConfig, *SECTIONS.values()) for name in fields_of(part)}


def plan(
    start: RunConfig,
    flags: Mapping[str, Any],
    axes: Mapping[str, tuple[str, ...]],
    *,
    check: Callable[[RunConfig], RunConfig],
    command: str,
) -> Grid:
    """Every cell of the grid with its checked configuration.

    Args:
        start: Defaults, or what a file holds.
        flags: Field name -> what the user gave for all cells.
        axes: From `parse_axes`.
        check: Checks a configuration as a single run's is checked, and returns what the run is to be given.
        command: The command line.

    Raises:
        UserError: A flag that is an axis too, too many cells, a cell whose settings do not go together, or two cells
            of the same settings.
    """
    both = sorted(set(axes) & set(flags))
    if both:
        raise UserError(f"{both[0]} is an axis of this grid and a flag as well; leave one of them out")
    size = math.prod(map(len, axes.values()))
    if size > MOST_CELLS:
        raise UserError(f"this grid has {size:,} cells; at most {MOST_CELLS:,} are trained in one")
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    configs = [_configured(start, flags, values, check) for values in combinations]
    parts = zip(_names(combinations), combinations, configs, strict=True)
    cells = tuple(Cell(name=name, point=point, config=config) for name, point, config in parts)
    _check_different(cells)
    return Grid(axes=axes, cells=cells, command=command)


def _configured(
    start: RunConfig, flags: Mapping[str, Any], values: Mapping[str, str], check: Callable[[RunConfig], RunConfig]
) -> RunConfig:
    typed = {axis: _as_flag(axis, value) for axis, value in values.items()}
    try:
        return check(apply_flags(start, {**flags, **typed}))
    except UserError as error:
        cell = ", ".join(f"{axis}={value}" for axis, value in values.items())
        raise UserError(f"cell {cell}: {error}") from error


def _as_flag(axis: str, value: str) -> str | None:
    """A value of an axis as its flag takes it: lists are written `a+b`, since commas part the values, or `none`."""
    part = settings()[axis]
    default = fields_of(part)[axis].default
    if isinstance(default, tuple):
        return "" if value == "none" else value.replace("+", ",")
    return None if value == "none" and default is None and part is not StageConfig else value


def _check_different(cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        same = seen.setdefault(json.dumps(cell.config.to_dict(), sort_keys=True), cell)
        if same is not cell:
            raise UserError(f"cells {same.text} and {cell.text} have the same settings; leave one of the values out")


def _names(combinations: Sequence[Mapping[str, str]]) -> list[str]:
    """A short, different folder name for each cell."""
    names: list[str] = []
    for number, values in enumerate(combinations, 1):
        words = (_word(axis, value) for axis, value in values.items())
        stem = re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.+")
        stem = stem if 0 < len(stem) <= _LONGEST_NAME else f"cell-{number}"
        twins = sum(1 for name in names if name == stem or re.fullmatch(re.escape(stem) + r"-\d+", name))
        names.append(f"{stem}-{twins + 1}" if stem in names else stem)
    return names


def _word(axis: str, value: str) -> str:
    if _is_switch(axis, value):
        return axis if value.lower() in _ON else f"no-{axis}"
    if _needs_axis(axis, value):
        return f"{axis}{value}" if _is_number(value) else f"{axis}-{value}"
    return "-".join(Path(value).parts[-2:]).removesuffix(".json")


def label(axis: str, value: str) -> str:
    """A value as a reader needs it: alone where that is clear, else with its axis (`augment off`, `seed 2`)."""
    alone = not (_is_switch(axis, value) or _needs_axis(axis, value))
    return value if alone else f"{axis.replace('_', ' ')} {value}"


def _is_switch(axis: str, value: str) -> bool:
    default = fields_of(settings()[axis])[axis].default
    return isinstance(default, bool) and value.lower() in (*_ON, *_OFF)


def _needs_axis(axis: str, value: str) -> bool:
    default = fields_of(settings()[axis])[axis].default
    return _is_number(value) or value == "none" or isinstance(default, tuple)


def _is_number(value: str) -> bool:
    return re.fullmatch(r"[\d.]+(e[+-]?\d+)?", value) is not None


def find_grid(grid: str, results: Path, *, kind: str = KIND) -> Path:
    """The folder of a grid of one kind, given as a path or as a name below `results`.

    Raises:
        UserError: There is none.
    """
    places = (Path(grid), results / grid)
    found = next((place for place in places if paths.is_file(place / GRID)), None)
    if found is None:
        of_kind = (path.parent.name for path in results.glob(f"*/{GRID}") if kind_of(path.parent) == kind)
        hint = "it is a single run; use --mode flat or hierarchical; " if _is_run(places) else ""
        known = ", ".join(sorted(of_kind)) or "none"
        raise UserError(f"--resume: no {kind} {grid!r} here or in {results}; {hint}there are: {known}")
    other = kind_of(found)
    if other not in (kind, None):
        raise UserError(f"--resume {grid}: {found} was made by --mode {other}; use that to go on with it")
    return found


def kind_of(folder: Path) -> str | None:
    """Which mode made the grid in a folder; None where there is none, or a damaged one."""
    try:
        return str(run_folder.read_json(folder / GRID).get("kind", KIND))
    except UserError:
        return None


def _is_run(places: Sequence[Path]) -> bool:
    return any(paths.is_file(place / paths.CONFIG) for place in places)


def read_grid(folder: Path) -> Grid:
    """What grid.json holds.

    Raises:
        UserError: It is damaged.
    """
    record = run_folder.read_json(folder / GRID)
    try:
        if record["format"] != FORMAT:
            raise UserError(f"{folder / GRID}: format {record['format']!r} is not the {FORMAT} that this version reads")
        axes = {axis: tuple(values) for axis, values in record["axes"].items()}
        cells = tuple(_read_cell(cell, folder) for cell in record["cells"])
        return Grid(axes=axes, cells=cells, command=record["command"], kind=record.get("kind", KIND))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / GRID} is damaged: {error!r} is missing or of the wrong kind") from error


def _read_cell(record: Mapping[str, Any], folder: Path) -> Cell:
    config = RunConfig.from_dict(record["config"], source=f"{folder / GRID}: cell {record['name']}")
    state = {key: record[key] for key in _STATE if key in record}
    return Cell(name=record["name"], point=record["values"], config=config, **state)


def write_grid(folder: Path, grid: Grid) -> None:
    """Write grid.json: axes, command, and of each cell its settings and its state."""
    cells = [
        {
            "name": cell.name,
            "values": cell.point,
            **{key: value for key in _STATE if (value := getattr(cell, key))},
            "config": cell.config.to_dict(),
        }
        for cell in grid.cells
    ]
    record = {"format": FORMAT, "kind": grid.kind, "command": grid.command, "axes": grid.axes, "cells": cells}
    run_folder.write_json(folder / GRID, record)


def refuse_changes(
    folder: Path, flags: Mapping[str, Any], axes: Sequence[str] = (), *, mode: str | None = None
) -> None:
    """Refuse to resume a grid with other axes or settings than its own.

    Args:
        folder: The grid's folder.
        flags: Field name -> what the user gave besides `--resume`.
        axes: What the user gave as `--axis`.
        mode: Of the only cell that the flags are about, in a grid over the mode alone.

    Raises:
        UserError: Something differs, or it is no such grid.
    """
    grid, start = read_grid(folder), f"--resume {folder.name} keeps its own settings; leave out what differs:"
    if axes and parse_axes(axes) != grid.axes:
        own = " ".join(f"--axis {axis}={','.join(values)}" for axis, values in grid.axes.items())
        raise UserError(f"{start} it was started with {own}")
    if mode and set(grid.axes) != {"mode"}:
        raise UserError(f"--resume {folder.name}: it has no baseline; go on with --mode {grid.kind} --resume")
    for flag in flags:
        if flag in grid.axes:
            raise UserError(f"{start} {flag} is an axis of it ({', '.join(grid.axes[flag])})")
    for cell in (cell for cell in grid.cells if mode in (None, cell.config.mode)):
        requested = resolve_weights(apply_flags(cell.config, flags), folder.parent)
        if changed := differences(cell.config, requested):
            raise UserError(f"{start} {'; '.join(changed)}")
