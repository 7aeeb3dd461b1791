"""Figures and tables of reports as files for a paper: PDF, SVG and PNG at 300 dpi, LaTeX and csv."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from fer_hierarchy.hierarchy.paths import atomic_write

if TYPE_CHECKING:  # the command line imports this module before the arguments are valid
    from matplotlib.figure import Figure

DPI = 300
_LONGEST_LINE = 30  # letters of a cell that LaTeX sets in one line
CAPTIONS = "captions.md"
# Without the day of their making, so that the same figure is the same file.
_METADATA: dict[str, dict[str, None] | None] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": None}

_folders: ContextVar[tuple[Path, Sequence[Path]] | None] = ContextVar("paper_folders", default=None)


@contextmanager
def figures_to(folder: Path | None, *, below: Sequence[Path] = ()) -> Iterator[None]:
    """Write the figures and tables of every report that the block writes to a folder of its own in `folder`, too.

    Args:
        folder: None for nowhere.
        below: Folders of reports: one that lies in them, however deep, keeps its path below them; others their name.
    """
    token = _folders.set(None if folder is None else (folder, [place.resolve() for place in below]))
    try:
        yield
    finally:
        _folders.reset(token)


def place_of(report: Path) -> Path | None:
    """The folder for what the report in a folder shows, made; None where nothing is wanted."""
    folders = _folders.get()
    if folders is None:
        return None
    folder, below = folders
    report = report.resolve()
    place = folder / report.relative_to(next(filter(report.is_relative_to, below), report.parent))
    place.mkdir(parents=True, exist_ok=True)
    return place


def save_figure(figure: "Figure", place: Path, name: str) -> None:
    """Write a figure in every format."""
    for suffix, metadata in _METADATA.items():
        with atomic_write(place / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=metadata)


def save_table(
    place: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, words: Sequence[int]
) -> None:
    """Write a table as LaTeX, for the package booktabs, and as csv; `words` are the columns set flush left."""
    import pandas as pd  # here: the command line imports this module before the arguments are valid

    with atomic_write(place / f"{name}.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    headed = pd.DataFrame(list(rows), columns=pd.Index(map(_latex, columns)), dtype=str)
    styled = headed.style.hide(axis="index").format(_latex)
    aligned = "".join(_alignments(columns, rows, words))
    text = styled.to_latex(hrules=True, column_format=aligned, caption=_latex(caption) or None, label=f"tab:{name}")
    with atomic_write(place / f"{name}.tex") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _alignments(columns: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int]) -> list[str]:
    """How LaTeX sets each column: words left, long ones in lines that share most of the page's width, numbers right."""
    longest = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    long = [place for place, letters in enumerate(longest) if place in words and letters > _LONGEST_LINE]
    lines = f"p{{{0.7 / max(len(long), 1):.2f}\\linewidth}}"
    return [lines if place in long else "l" if place in words else "r" for place in range(len(columns))]


def save_captions(place: Path, captions: Sequence[str]) -> None:
    """Write what the figures and tables are called in the report."""
    with atomic_write(place / CAPTIONS) as temporary:
        temporary.write_text("".join(f"- {caption}\n" for caption in captions), encoding="utf-8")


def _latex(text: str) -> str:
    """Text in which nothing is a command of LaTeX, and all that reports hold is in its own fonts."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {":": r":\allowbreak{}", **{character: f"\\{character}" for character in "&%$#_{}"}}
    special |= {"±": r"$\pm$", "→": r"$\to$", "✓": r"$\surd$", "✗": r"$\times$"}
    return "".join(special.get(character, character) for character in text)
