"""Figures and tables of a report as files for a paper."""

import csv

import numpy as np
import pytest

from fer_hierarchy.hierarchy.reports.figures import Drawings, picture_gallery
from fer_hierarchy.hierarchy.reports.page import Images, Section, Table, report, write_page
from fer_hierarchy.hierarchy.reports.paper import figures_to

COLUMNS, ROWS = ("Name", "Top-1 %"), [("a_b & 50 % ~\\x{", "63.4"), ("second", "61.0")]


def write(folder, *, synthetic=False):
    drawings = Drawings(folder, synthetic)
    line = drawings.draw("line", lambda ax: ax.plot([0, 1], [2, 3]), title="A line", width=3, height=2)
    bars = drawings.draw("bars", lambda ax: ax.bar(["x"], [1]), title="Bars", alt="One bar", width=3, height=2)
    blocks = [Table(COLUMNS, ROWS, "Scores of two runs"), line, Images([bars]), Table(COLUMNS, ROWS[1:])]
    write_page(report("Report", "", [Section("Results", "", blocks)], synthetic=synthetic), folder)


@pytest.fixture
def places(tmp_path, rendered):
    folder = tmp_path / "first"
    with figures_to(folder / "out"):
        write(folder / "run")
    return folder / "run", folder / "out" / "run"


def test_captions_are_numbered_and_stand_outside_of_the_pictures(places):
    text, page = ((places[0] / name).read_text() for name in ("report.md", "report.html"))
    for caption in ("Table 1. Scores of two runs.", "Figure 1. A line.", "Figure 2. One bar.", "Table 2. Results."):
        assert f"*{caption}*" in text
        assert caption in page
    assert "A line" not in (places[1] / "line.svg").read_text().partition("</metadata>")[2]


def test_reports_of_one_name_have_folders_of_their_own(tmp_path):
    results, studies = tmp_path / "results", tmp_path / "logs" / "tuning"
    runs = ("grid1/seed0", "grid2/seed0", "seed0")
    with figures_to(tmp_path / "out", below=[results, studies.parent]):
        for place in (*(results / run for run in runs), studies / "seed0", tmp_path / "elsewhere" / "other"):
            write(place)
    found = {str(file.parent.relative_to(tmp_path / "out")) for file in tmp_path.glob("out/**/captions.md")}
    assert found == {*runs, "tuning/seed0", "other"}


def test_figures_come_as_pdf_svg_and_png(places):
    assert {path.name for path in places[1].glob("line.*")} == {"line.pdf", "line.png", "line.svg"}
    from PIL import Image

    with Image.open(places[1] / "line.png") as picture:
        assert picture.size == (900, 600)
    assert "<text" in (places[1] / "line.svg").read_text(), "texts stay texts"


def test_the_same_figure_is_the_same_file(places, tmp_path):
    with figures_to(tmp_path / "out"):
        write(tmp_path / "run")
    for path in places[1].iterdir():
        assert (tmp_path / "out" / "run" / path.name).read_bytes() == path.read_bytes(), path.name


def test_tables_come_as_latex_and_csv(places):
    with (places[1] / "table-01.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), *map(list, ROWS)]
    text = (places[1] / "table-01.tex").read_text()
    assert r"Name & Top-1 \% \\" in text
    assert r"a\_b \& 50 \% \textasciitilde{}\textbackslash{}x\{ & 63.4 \\" in text
    assert r"\caption{Scores of two runs.}" in text
    assert r"\toprule" in text
    names = (places[1] / "captions.md").read_text()
    assert "- Figure 2. One bar. (bars.pdf, .svg, .png)" in names
    assert "- Table 2. Results. (table-02.tex, table-02.csv)" in names


def test_words_of_a_latex_table_stand_left_and_its_marks_are_latex(tmp_path):
    table = Table(("Run", "Top-1 %", "Verdict"), [("first", "63.4 ± 0.6", "✓ sad → ✗ fear")], words=(0, 2))
    with figures_to(tmp_path / "out"):
        (tmp_path / "run").mkdir()
        write_page(report("Report", "", [Section("Results", "", [table])], synthetic=False), tmp_path / "run")
    text = (tmp_path / "out" / "run" / "table-01.tex").read_text()
    assert r"\begin{tabular}{lrl}" in text
    assert r"first & 63.4 $\pm$ 0.6 & $\surd$ sad $\to$ $\times$ fear \\" in text


def test_long_words_of_a_latex_table_have_lines_of_their_own(tmp_path):
    model = "compact_resnet:stem_width=16:widths=32+64+120"
    table = Table(("Run", "Model", "Top-1 %"), [("first", model, "63.4")], words=(0, 1))
    with figures_to(tmp_path / "out"):
        (tmp_path / "run").mkdir()
        write_page(report("Report", "", [Section("Results", "", [table])], synthetic=False), tmp_path / "run")
    text = (tmp_path / "out" / "run" / "table-01.tex").read_text()
    assert r"\begin{tabular}{lp{0.70\linewidth}r}" in text
    assert r"compact\_resnet:\allowbreak{}stem\_width=16:" in text


def test_a_gallery_is_a_numbered_figure(tmp_path):
    drawings = Drawings(tmp_path / "run", synthetic=False)
    with figures_to(tmp_path / "out"):
        faces = picture_gallery(drawings, "faces", "Sure mistakes", [np.zeros((4, 4), np.uint8)], [("a", "b", "c")])
        write_page(report("Report", "", [Section("Results", "", [faces])], synthetic=False), tmp_path / "run")
    for name in ("report.md", "report.html"):
        assert "Figure 1. Sure mistakes." in (tmp_path / "run" / name).read_text()
    assert (
        "- Figure 1. Sure mistakes. (faces.pdf, .svg, .png)" in (tmp_path / "out" / "run" / "captions.md").read_text()
    )


def test_without_a_wish_nothing_more_is_written(tmp_path):
    write(tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.suffix for path in (tmp_path / "run" / "figures").iterdir()} == {".png"}


@pytest.mark.usefixtures("rendered")
def test_a_synthetic_figure_says_so_by_itself(tmp_path):
    with figures_to(tmp_path / "out"):
        write(tmp_path / "run", synthetic=True)
    assert "synthetic faces" in (tmp_path / "out" / "run" / "line.svg").read_text()
