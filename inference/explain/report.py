"""Heat maps to files: tables, figures, explain.json, report.md and one self-contained report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.reports.page import (
    SYNTHETIC,
    Beside,
    Block,
    Code,
    Image,
    Images,
    Items,
    Page,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    titled,
    write_page,
)
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.wording import percent, points, whole
from fer_hierarchy.inference.explain.figures import FACES_A_SHEET, draw_averages, draw_gallery
from fer_hierarchy.inference.explain.grad_cam import DEPTH, MapLayer
from fer_hierarchy.inference.explain.heat import THIRDS
from fer_hierarchy.inference.explain.heat_maps import ALL, HeatMaps, map_table, region_table

FACES_OF_EACH = 4  # of an emotion, in the gallery

MAPS = "maps.csv"
REGIONS = "regions.csv"
PICTURES = "images.csv"
RECORD = "explain.json"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that a report on heat maps needs.

    Attributes:
        run: Name of the run.
        mode: "hierarchical" or "flat".
        seed: Decides which faces the gallery shows.
        command: The command line.
        synthetic: Whether the program has drawn the faces.
        layers: Stage -> modality -> where its network's last map is.
        judged: Faces of a data set; None where only pictures were given.
        test_faces: How many faces `judged` was chosen from.
        pictures: The user's own pictures; None where none were given.
        notes: What a reader must know.
    """

    run: str
    mode: str
    seed: int
    command: str
    synthetic: bool
    layers: Mapping[str, Mapping[str, MapLayer]]
    judged: HeatMaps | None
    test_faces: int
    pictures: HeatMaps | None
    notes: Sequence[str]


def write_explanation(folder: Path, explanation: Explanation) -> None:
    """Write tables, figures and reports into a new folder."""
    (folder / "figures").mkdir()
    regions = None
    if explanation.judged is not None:
        maps = map_table(explanation.judged)
        regions = region_table(maps, explanation.judged)
        run_folder.write_table(folder / MAPS, maps)
        run_folder.write_table(folder / REGIONS, regions)
    if explanation.pictures is not None:
        run_folder.write_table(folder / PICTURES, map_table(explanation.pictures))
    run_folder.write_json(folder / RECORD, _record(explanation))
    write_page(_page(folder, explanation, regions), folder)


def _record(explanation: Explanation) -> dict:
    judged, pictures = explanation.judged, explanation.pictures
    return {
        "run": explanation.run,
        "mode": explanation.mode,
        "seed": explanation.seed,
        "command": explanation.command,
        "synthetic": bool(explanation.synthetic),
        "faces": 0 if judged is None else len(judged.rows),
        "test_faces": explanation.test_faces,
        "images": 0 if pictures is None else len(pictures.rows),
        "layers": {
            stage: {what: {"layer": place.name, "grid": list(place.grid)} for what, place in places.items()}
            for stage, places in explanation.layers.items()
        },
        "notes": list(explanation.notes),
    }


def _page(folder: Path, explanation: Explanation, regions: pd.DataFrame | None) -> Page:
    sections = [_summary(explanation, regions), _reading(explanation)]
    if explanation.pictures is not None:
        sections.append(_own_pictures(folder, explanation))
    if explanation.judged is not None:
        sections += [
            _averages(folder, explanation),
            _regions(regions, explanation.judged.taxonomy),
            _gallery(folder, explanation),
        ]
    sections.append(_repeat(explanation))
    kind = "its one network" if explanation.mode == FLAT else "its gate and its specialists"
    return Page(
        title=titled(f"Where {explanation.run} looks", synthetic=explanation.synthetic),
        subtitle=f"Grad-CAM heat maps of {kind}, each for the answer that the network gives.",
        banner=SYNTHETIC if explanation.synthetic else "",
        sections=sections,
    )


def _summary(explanation: Explanation, regions: pd.DataFrame | None) -> Section:
    blocks: list[Block] = []
    judged = explanation.judged
    if judged is not None:
        right = float((judged.answers == judged.rows["emotion"].to_numpy(object)).mean())
        total = regions[regions["says"] == ALL]
        blocks += [
            Tiles(
                (
                    Tile(
                        "Faces", whole(len(judged.rows)), f"of {explanation.test_faces:,} that it has not learnt from"
                    ),
                    Tile("Right answers", percent(right), "on these faces"),
                    Tile("Networks", str(len(explanation.layers)), ", ".join(explanation.layers)),
                    Tile("Blank maps", whole(total["blank"].sum()), f"of {total['faces'].sum():,}"),
                )
            ),
            Items(tuple(_hottest(row, judged.taxonomy) for row in total.itertuples() if row.faces > row.blank)),
        ]
    if judged is not None and len(judged.rows) < explanation.test_faces:
        blocks.append(Text("The faces are a random choice in which each emotion has its share."))
    if explanation.notes:
        blocks += [Text("Notes:"), Items(tuple(explanation.notes))]
    return Section("Summary", "", blocks or [Text("The pictures below were explained one by one.")])


def _hottest(row: object, taxonomy: Taxonomy) -> str:
    """One line on where a stage looks."""
    shares = {name: getattr(row, name) for name in THIRDS}
    name = max(shares, key=shares.get)
    return (
        f"{_stage_words(row.stage, taxonomy)}, on the {row.modality}: most heat lies in the {name} third "
        f"({percent(shares[name])}; spread evenly it would be 33.3 %)."
    )


def _reading(explanation: Explanation) -> Section:
    grids = sorted({place.grid for places in explanation.layers.values() for place in places.values()})
    cells = " or ".join(f"{rows} x {columns}" for rows, columns in grids)
    with_depth = any(DEPTH in places for places in explanation.layers.values())
    lines = [
        "Bright places are those where the network's last layers found what raised the score of its answer, be the "
        "answer right or wrong. Places without colour did not raise it.",
        "Each map is scaled to its own hottest place. It says where, not how much: colours of two faces, of two "
        "networks or of picture and depth cannot be set against each other in strength.",
        f"Maps are coarse: {cells} cells, enlarged smoothly. A cell has seen more of the face than lies below it, so "
        "the border of a bright place means nothing.",
        "A blank map is a finding too: nothing in the last layers spoke for the answer; the others were ruled out.",
        "Heat beside the face is a warning: the network may go by the background, the hair or the cut of the picture.",
        "A heat map does not prove that a place decided. To know that, cover the place and ask again.",
        "It does not say what was seen there (a crease, a shadow, the edge of a beard), nor what spoke against other "
        "answers. Wrong answers have maps as tidy as right ones.",
    ]
    if with_depth:
        lines.append("Picture and depth have a map each. Depth is drawn as heights: bright is near, pale is a hole.")
    hint = "Grad-CAM (Selvaraju et al., ICCV 2017): the last map of each network, weighed by what moves the answer."
    return Section("How to read a heat map", hint, [Items(tuple(lines))])


def _averages(folder: Path, explanation: Explanation) -> Section:
    images = []
    for heat in explanation.judged.stages:
        path = folder / "figures" / f"average_{heat.stage}.png"
        if len(heat.faces):
            title = f"{_stage_words(heat.stage, explanation.judged.taxonomy)}, by answer"
            width = draw_averages(path, title, explanation.judged, heat, synthetic=explanation.synthetic)
            images.append(Image(path, f"{title}: mean heat map over the mean face", width))
    hint = (
        "The mean of the maps of all faces that were answered so, over the mean of these faces. Every map counts alike "
        "(its hottest place is 1): a mean near 1 is a place that is hot on nearly every face. Colours run from the "
        "least to the largest mean of a figure; means of few faces are uncertain."
    )
    return Section("Answer by answer", hint, [Images(images)])


def _stage_words(stage: str, taxonomy: Taxonomy) -> str:
    if stage == FLAT:
        return "Flat network"
    return f"Gate {stage}" if stage == taxonomy.gate else f"Specialist {stage}"


def _regions(regions: pd.DataFrame, taxonomy: Taxonomy) -> Section:
    blocks: list[Block] = []
    for stage, part in regions.groupby("stage", sort=False):
        name = _stage_words(stage, taxonomy)
        modalities = part.groupby("modality", sort=False)
        blocks.append(Beside([_thirds_table(f"{name}, on the {modality}", own) for modality, own in modalities]))
    hint = (
        "Shares of the heat in the upper third of the picture (brows, and eyes in most crops), the middle (nose and "
        "cheeks) and the lower (mouth and chin), as means over faces. Thirds are cut from the picture, not found in "
        "the face; heat spread evenly gives 33.3 each."
    )
    return Section("Which part of the face", hint, blocks)


def _thirds_table(caption: str, regions: pd.DataFrame) -> Table:
    rows = [
        (row.says, whole(row.faces), whole(row.blank), *(points(getattr(row, third)) for third in THIRDS))
        for row in regions.itertuples()
    ]
    columns = ("Answer", "Faces", "Blank", *(f"{third.capitalize()} %" for third in THIRDS))
    return Table(columns, rows, caption=caption, strong=(0,))


def _gallery(folder: Path, explanation: Explanation) -> Section:
    judged = explanation.judged
    rng = np.random.default_rng(explanation.seed)
    images = []
    for emotion in judged.taxonomy.emotions:
        own = np.flatnonzero((judged.rows["emotion"] == emotion).to_numpy())
        if len(own):
            faces = np.sort(rng.choice(own, min(FACES_OF_EACH, len(own)), replace=False))
            path = folder / "figures" / f"gallery_{emotion}.png"
            width = draw_gallery(path, f"Faces of {emotion}", judged, faces, synthetic=explanation.synthetic)
            images.append(Image(path, f"Heat maps of {len(faces)} faces of {emotion}", width))
    hint = (
        "Faces drawn at random. Below each picture stands the run's answer, below each map what that network says with "
        "its probability; ✗ is wrong."
    )
    if explanation.mode != FLAT:
        hint += " Of the specialists, the one whose emotion became the answer is shown."
    return Section("Face by face", hint, [Images(images)])


def _own_pictures(folder: Path, explanation: Explanation) -> Section:
    pictures = explanation.pictures
    images = []
    for number, start in enumerate(range(0, len(pictures.rows), FACES_A_SHEET), start=1):
        faces = range(start, min(start + FACES_A_SHEET, len(pictures.rows)))
        path = folder / "figures" / f"images_{number}.png"
        width = draw_gallery(path, "Your pictures", pictures, faces, synthetic=False)
        images.append(Image(path, f"Heat maps of {len(faces)} pictures", width))
    hint = (
        "The pictures were taken as they are, as faces that fill the frame like those of the training. ✓ and ✗ stand "
        "only where the data set names the emotion."
    )
    return Section("Your pictures", hint, [Images(images)])


def _repeat(explanation: Explanation) -> Section:
    files = []
    if explanation.judged is not None:
        files += [
            f"{MAPS}: every map, a row each, with its face, the network's answer and the thirds",
            f"{REGIONS}: the table above",
        ]
    if explanation.pictures is not None:
        files.append(f"{PICTURES}: the same as {MAPS} for your pictures")
    files.append(f"{RECORD}: which layer each map is taken from, and how this was made")
    return Section("Files, and how to repeat it", "", [Items(tuple(files)), Code(explanation.command)])
