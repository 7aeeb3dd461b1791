"""A report as plain blocks, written twice: as GitHub-flavoured Markdown and as one self-contained HTML file."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fer_hierarchy.hierarchy.paths import atomic_write


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"

    def markdown(self) -> str:
        """The block as Markdown."""
        return _escape(self.text)


@dataclass(frozen=True)
class Warn:
    """A paragraph that a reader of the numbers must not miss."""

    text: str
    kind: ClassVar[str] = "warn"

    def markdown(self) -> str:
        """The block as Markdown."""
        return f"> **{_escape(self.text)}**"


@dataclass(frozen=True)
class Items:
    """A bulleted list."""

    items: Sequence[str]
    kind: ClassVar[str] = "items"

    def markdown(self) -> str:
        """The block as Markdown."""
        return "\n".join(f"- {_escape(item)}" for item in self.items)


@dataclass(frozen=True)
class Code:
    """Text to copy into a terminal."""

    text: str
    kind: ClassVar[str] = "code"

    def markdown(self) -> str:
        """The block as Markdown, in a fence that the text itself cannot close."""
        fence = "```"
        while fence in self.text:
            fence += "`"
        return f"{fence}\n{self.text}\n{fence}"


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Tiles:
    """Headline numbers in a row; in Markdown the summary and the tables say the same."""

    tiles: Sequence[Tile]
    kind: ClassVar[str] = "tiles"

    def markdown(self) -> str:
        """The block as a Markdown table of one row."""
        cells = tuple(f"{tile.value} ({tile.detail})" if tile.detail else tile.value for tile in self.tiles)
        return Table(tuple(tile.label for tile in self.tiles), (cells,)).markdown()


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
    kind: ClassVar[str] = "table"

    def markdown(self) -> str:
        """The block as a GitHub-flavoured table."""
        rule = ["---" if i in self.words else "---:" for i in range(len(self.columns))]
        lines = [_line(map(_cell, self.columns)), _line(rule)]
        for number, row in enumerate(self.rows):
            cells = [_cell(cell) for cell in row]
            lines.append(_line(f"**{cell}**" if number in self.strong and cell else cell for cell in cells))
        return "\n".join([f"*{_escape(self.caption)}*\n"] * bool(self.caption) + lines)


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
    kind: ClassVar[str] = "images"

    def markdown(self, folder: Path) -> str:
        """The block as Markdown with links relative to `folder`."""
        links = (f"![{_escape(i.alt)}]({i.path.relative_to(folder).as_posix()})" for i in self.images)
        return "\n\n".join(links)


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
    kind: ClassVar[str] = "gallery"

    def markdown(self, folder: Path) -> str:
        """The sheet as a Markdown image."""
        return Images((self.sheet,)).markdown(folder)


@dataclass(frozen=True)
class Beside:
    """Blocks that stand side by side where there is room, and one below the other where there is not."""

    blocks: Sequence["Block"]
    kind: ClassVar[str] = "beside"

    def markdown(self, folder: Path) -> str:
        """The blocks one below the other."""
        return "\n\n".join(_block_markdown(block, folder) for block in self.blocks)


Block = Text | Warn | Items | Code | Tiles | Table | Images | Gallery | Beside


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


def write_page(page: Page, folder: Path) -> None:
    """Write report.md and report.html into `folder`, where the page's figures already are."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda image: _data_uri(image.path.read_bytes())
    environment.filters["png"] = _data_uri
    texts = {
        "report.md": to_markdown(page, folder),
        "report.html": environment.get_template("page.html").render(page=page),
    }
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def to_markdown(page: Page, folder: Path) -> str:
    """The page as GitHub-flavoured Markdown; figures are linked relative to `folder`."""
    parts = [f"# {_escape(page.title)}", _escape(page.subtitle)]
    if page.banner:
        parts.insert(1, Warn(page.banner).markdown())
    for section in page.sections:
        parts.append(f"## {_escape(section.title)}")
        if section.hint:
            parts.append(f"*{_escape(section.hint)}*")
        parts.extend(_block_markdown(block, folder) for block in section.blocks)
    return "\n\n".join(parts) + "\n"


def _block_markdown(block: Block, folder: Path) -> str:
    return block.markdown(folder) if isinstance(block, Images | Gallery | Beside) else block.markdown()


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _escape(text: str) -> str:
    # Enough that a name with a star, an angle bracket or a back-quote shows as itself.
    for character in "\\`*<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _escape(text).replace("|", "\\|")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
