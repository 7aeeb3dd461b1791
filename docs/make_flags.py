"""Write docs/flags.md from the declarations of the flags: `python docs/make_flags.py`."""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer_hierarchy.hierarchy.cli.console import add_setting, flag
from fer_hierarchy.hierarchy.cli.modes import MODES, OTHER_FLAGS
from fer_hierarchy.hierarchy.config import DataConfig, EvaluationConfig, RunConfig, StageConfig
from fer_hierarchy.hierarchy.training.workers import WorkerConfig
from fer_hierarchy.inference.settings import ExportConfig, FaceConfig, PredictConfig, WebcamConfig
from fer_hierarchy.tuning.settings import SearchConfig

PAGE = Path(__file__).with_name("flags.md")
TRAINING = ("hierarchical", "flat", "grid", "crossval")
_TITLES = {
    DataConfig: "Data",
    StageConfig: "Training",
    EvaluationConfig: "Evaluation",
    RunConfig: "Run",
    SearchConfig: "Search",
    WorkerConfig: "Trainings at once",
    FaceConfig: "Faces in pictures",
    PredictConfig: "Predictions",
    WebcamConfig: "Live",
    ExportConfig: "Export",
}
_PROGRAM = "Program"
_INTRODUCTION = """\
# Flags

<!-- Made by docs/make_flags.py from the flags' own declarations; change those and run it again. -->

`python tf_model.py --mode MODE --help` prints the flags of one mode. The column *modes* names the modes that take a
flag; *training* stands for `hierarchical`, `flat`, `grid` and `crossval`. A switch such as `--drop-duplicates` has an
opposite, `--no-drop-duplicates`. Flags under *Training* take one value for all stages or values for single stages:
`--epochs 12` or `--epochs valence=12,positive=20`.
"""


@dataclass
class _Row:
    """A flag as the page shows it: how it is typed, its help, and its help in the modes where it differs."""

    typed: str
    text: str
    modes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


class _Shown:
    """Stands in for argparse's parser: keeps what `add_setting` declares."""

    def add_argument(self, name: str, **declared: Any) -> None:
        """Keep a declaration; a switch has no value."""
        is_switch = declared.get("action") is argparse.BooleanOptionalAction
        self.row = _row(name, "" if is_switch else declared["metavar"], declared["help"].replace("%%", "%"))


def _row(name: str, value: str, text: str) -> _Row:
    """A flag whose value is a placeholder in capitals, or one of the words that `a|b` lists."""
    words = value.split("|")
    if len(words) > 1 and value == value.lower():
        return _Row(name, f"{', '.join(f'`{word}`' for word in words)}: {text}")
    return _Row(f"{name} {' or '.join(words)}".strip(), text)


def page() -> str:
    """The whole page as Markdown."""
    tables: dict[str, dict[str, _Row]] = {title: {} for title in (*_TITLES.values(), _PROGRAM)}
    tables[_PROGRAM]["mode"] = _Row("--mode MODE", "what to do (default: hierarchical)", list(MODES))
    for name, mode in MODES.items():
        for part, settings in mode.fields.items():
            for setting in settings:
                _add(tables[_TITLES[part]], setting, _declared(part, setting), name, mode.texts)
        for other in mode.others:
            metavar, text = OTHER_FLAGS[other]
            _add(tables[_PROGRAM], other, _row(flag(other), metavar, text), name, mode.texts)
    return _INTRODUCTION + "".join(_section(title, rows) for title, rows in tables.items())


def _declared(part: type, setting: str) -> _Row:
    shown = _Shown()
    add_setting(shown, part, setting)
    return shown.row


def _add(rows: dict[str, _Row], key: str, row: _Row, mode: str, texts: Mapping[str, str]) -> None:
    kept = rows.setdefault(key, row)
    kept.modes.append(mode)
    if key in texts:
        kept.texts[mode] = texts[key].replace("%%", "%")


def _section(title: str, rows: Mapping[str, _Row]) -> str:
    lines = [f"| `{_cell(row.typed)}` | {_cell(_text(row))} | {_modes(row.modes)} |" for row in rows.values()]
    return "\n".join([f"\n## {title}\n", "| flag | what it is for | modes |", "|---|---|---|", *lines, ""])


def _text(row: _Row) -> str:
    """The help, and after it what the flag means in the modes that use it otherwise."""
    if len(row.texts) == len(row.modes) and len(set(row.texts.values())) == 1:
        return next(iter(row.texts.values()))
    return "<br>".join([row.text, *_by_text(row.texts)])


def _by_text(texts: Mapping[str, str]) -> Iterator[str]:
    for text in dict.fromkeys(texts.values()):
        modes = ", ".join(f"`{mode}`" for mode, own in texts.items() if own == text)
        yield f"in {modes}: {text}"


def _modes(modes: list[str]) -> str:
    if len(modes) == len(MODES):
        return "all"
    trains = set(TRAINING) <= set(modes)
    others = [mode for mode in modes if not (trains and mode in TRAINING)]
    return ", ".join([*(["training"] if trains else []), *(f"`{mode}`" for mode in others)])


def _cell(text: str) -> str:
    return re.sub("<(?!br>)", "&lt;", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
