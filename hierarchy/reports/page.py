"""A report as plain blocks, written twice: as GitHub-flavoured Markdown and as one self-contained HTML file.

`report` makes the page of any report: it names synthetic faces in the title and in a banner, and leaves out sections
without blocks. `Table.of` makes a table from records, a heading beside its key and its format; `facts` makes one of
names and values; `how_to_repeat` is the last section. An `Image` is a block by itself. Records of reports extend
`figures.Drawings`, whose `draw` returns that block.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.hierarchy.printing import printable
from fer_hierarchy.hierarchy.reports import paper
from fer_hierarchy.hierarchy.wording import MEASURE_COLUMNS, plain

SYNTHETIC = (
    "SYNTHETIC FACES: every face behind these numbers was drawn by the program. "
    "They show that it works, and nothing about real people."
)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


class Warn(Text):
    """A paragraph that a reader of the numbers must not miss."""


@dataclass(frozen=True)
class Items:
    """A bulleted list."""

    items: Sequence[str]


class Code(Text):
    """Text to copy into a terminal."""


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Tiles:
    """Headline numbers in a row; in Markdown a table of one row."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Table:
    """A table of ready-made texts.

    Attributes:
        columns: Headings.
        rows: Cells as texts, one tuple a row.
        caption: What the table shows; may be empty.
        strong: Row numbers that stand out.
        words: Columns that hold words and are set flush left; the others hold numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: Sequence[int] = ()
    words: Sequence[int] = (0,)

    @classmethod
    def of(cls, records: Iterable[Any], columns: Mapping[str, Any], **details: Any) -> "Table":
        """A table with a row for each record.

        Args:
            records: Anything that `columns` can read.
            columns: Heading -> a function of a record that gives the text, or `(key, format)` for
                `format(record.get(key))`.
            **details: Further attributes of the table.
        """
        cells = [how if callable(how) else _reader(*how) for how in columns.values()]
        return cls(tuple(columns), [tuple(cell(record) for cell in cells) for record in records], **details)


def _reader(key: str, form: Callable[[Any], str]) -> Callable[[Mapping], str]:
    return lambda record: form(record.get(key))


def measured(text: Callable[[Any, str], str], measures: Mapping[str, str] = MEASURE_COLUMNS) -> dict[str, Callable]:
    """A column of each measure: heading -> `text` of a record and the measure."""
    return {title: lambda record, measure=measure: text(record, measure) for measure, title in measures.items()}


def facts(values: Mapping[str, Any] | Iterable[tuple[str, Any]], heading: str = "Fact", caption: str = "") -> Table:
    """A table of names and values, as `wording.plain` writes them."""
    pairs = values.items() if isinstance(values, Mapping) else values
    return Table((heading, "Value"), [(name, plain(value)) for name, value in pairs], caption, words=(0, 1))


@dataclass(frozen=True)
class Image:
    """A figure file.

    Attributes:
        path: The PNG below the report's folder.
        alt: What it shows, for those who cannot see it.
        width: Inches on paper; on screen 100 pixels an inch, less where the screen is narrower.
    """

    path: Path
    alt: str
    width: float


@dataclass(frozen=True)
class Images:
    """Figures side by side where there is room."""

    images: Sequence[Image]


@dataclass(frozen=True)
class Face:
    """One picture of a gallery: a PNG in memory and its two caption lines."""

    png: bytes
    title: str
    detail: str


@dataclass(frozen=True)
class Gallery:
    """Many small pictures: each by itself in HTML, where they flow with the screen; one sheet in Markdown."""

    faces: Sequence[Face]
    sheet: Image


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side where there is room, and one below the other where there is not."""

    blocks: Sequence["Block"]


Block = Union[Text, Warn, Items, Code, Tiles, Table, Image, Images, Gallery, Beside]  # noqa: UP007


@dataclass(frozen=True)
class Section:
    """A heading, one line for a newcomer on how to read what follows, and blocks."""

    title: str
    hint: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The section's name in links."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    banner: str
    sections: Sequence[Section]


def report(title: str, subtitle: str, sections: Iterable[Section], *, synthetic: bool) -> Page:
    """The page of a report.

    Args:
        title: Of the page; where the faces are synthetic and it does not name them so, a word is added.
        subtitle: One line below it.
        sections: Those without blocks are left out.
        synthetic: Whether the program drew the faces; then the page has a banner.
    """
    shown = [section for section in sections if section.blocks]
    return Page(titled(title, synthetic=synthetic), subtitle, SYNTHETIC if synthetic else "", shown)


def limited(limits: Iterable[int | None]) -> list[Warn]:
    """The warning of results on a part of the data, for what `--limit` was; none where nothing was limited."""
    if not (given := sorted(set(filter(None, limits)))):
        return []
    kept = " or ".join(f"{limit:,}" for limit in given)
    return [Warn(f"A quick check, not a result: --limit kept at most {kept} rows of each split of the data.")]


def titled(name: str, *, synthetic: bool) -> str:
    """A report's title, which names the faces synthetic where the name does not."""
    return f"Synthetic: {name}" if synthetic and "synthetic" not in name.lower() else name


def how_to_repeat(*blocks: Block | str, hint: str = "The command below, in the project's folder.") -> Section:
    """The section on how a report was made; texts are commands."""
    return Section("How to repeat this", hint, [Code(block) if isinstance(block, str) else block for block in blocks])


def write_page(page: Page, folder: Path) -> None:
    """Write report.md and report.html into `folder`, where the page's figures already are."""
    html = _rendered("page.html", page, folder)
    if place := paper.place_of(folder):
        _for_paper(page, place)
    for name, text in (("report.md", to_markdown(page, folder)), ("report.html", html)):
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _for_paper(page: Page, place: Path) -> None:
    """Write the tables, and what tables and figures are called, into a folder."""
    captions = []
    for block, text in _captions(page):
        if isinstance(block, Table):
            name = f"table-{int(text.removeprefix('Table ').partition('.')[0]):02}"
            paper.save_table(place, name, block.columns, block.rows, text.partition(". ")[2], words=block.words)
            captions.append(f"{text} ({name}.tex, {name}.csv)")
        else:
            captions.append(f"{text} ({block.path.stem}.pdf, .svg, .png)")
    paper.save_captions(place, captions)


def _captions(page: Page) -> list[tuple[Table | Image, str]]:
    """Every table and figure in the order of the page, with its number and what it shows."""
    counts = {"Table": 0, "Figure": 0}
    found: list[tuple[Table | Image, str]] = []
    for section in page.sections:
        for block in _leaves(section.blocks):
            kind, text = ("Table", block.caption) if isinstance(block, Table) else ("Figure", block.alt)
            counts[kind] += 1
            found.append((block, f"{kind} {counts[kind]}. {(text or section.title).rstrip('.')}."))
    return found


def _leaves(blocks: Iterable[Block]) -> Iterator[Table | Image]:
    """The tables and images in blocks, those in groups too."""
    for block in blocks:
        if isinstance(block, Table | Image):
            yield block
        elif isinstance(block, Images):
            yield from block.images
        elif isinstance(block, Gallery):
            yield block.sheet
        elif isinstance(block, Beside):
            yield from _leaves(block.blocks)


def to_markdown(page: Page, folder: Path) -> str:
    """The page as GitHub-flavoured Markdown; figures are linked relative to `folder`."""
    return _rendered("page.md", page, folder).rstrip() + "\n"


def _rendered(template: str, page: Page, folder: Path) -> str:
    """The page without characters that a terminal or an editor would obey."""
    captions = {id(block): text for block, text in _captions(page)}
    environment = _templates(folder)
    environment.filters["caption"] = lambda block: captions.get(id(block), "")
    return printable(environment.get_template(template).render(page=page), keep="\n\t")


def _templates(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(),  # .html, not .md
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "kind": lambda block: type(block).__name__,
        "inline": lambda image: _data_uri(image.path.read_bytes()),
        "png": _data_uri,
        "image": lambda image: f"![{_escape(image.alt)}]({image.path.relative_to(folder).as_posix()})",
        "md": _escape,
        "cell": lambda text: _escape(text).replace("|", "\\|"),
        "fence": _fence,
    }
    return environment


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _escape(text: str) -> str:
    # Enough that a name with a star, an angle bracket or a back-quote shows as itself.
    for character in "\\`*<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _fence(text: str) -> str:
    """Back-quotes that the text itself cannot close."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
