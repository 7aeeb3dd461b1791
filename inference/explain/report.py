"""Heat maps to files: tables, figures, explain.json, report.md and one self-contained report.html."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_hierarchy.hierarchy.reports.figures import Drawings
from fer_hierarchy.hierarchy.reports.page import (
    Beside,
    Block,
    Code,
    Images,
    Items,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    report,
    write_page,
)
from fer_hierarchy.hierarchy.runs.run_folder import write_json, write_table
from fer_hierarchy.hierarchy.taxonomy import FLAT, Taxonomy
from fer_hierarchy.hierarchy.wording import percent, points, whole
from fer_hierarchy.inference.explain.figures import FACES_A_SHEET, draw_averages, draw_gallery
from fer_hierarchy.inference.explain.grad_cam import DEPTH
from fer_hierarchy.inference.explain.heat_maps import ALL, THIRDS, HeatMaps, map_table, region_table

FACES_OF_EACH = 4  # of an emotion, in the gallery

MAPS = "maps.csv"
REGIONS = "regions.csv"
PICTURES = "images.csv"
RECORD = "explain.json"


def write_explanation(
    folder: Path, record: Mapping[str, Any], faces: HeatMaps | None, pictures: HeatMaps | None
) -> None:
    """Write tables, figures and reports into a new folder.

    Args:
        folder: Empty.
        record: What explain.json holds: run, mode, seed, command, synthetic, faces, test_faces, images, layers
            (stage -> modality -> layer and grid) and notes.
        faces: Faces of a data set; None where only pictures were given.
        pictures: The user's own pictures; None where none were given.
    """
    summary: list[Block] = []
    shown: list[Section] = []
    files = [f"{RECORD}: which layer each map is taken from, and how this was made"]
    if pictures is not None:
        write_table(folder / PICTURES, map_table(pictures))
        files = [f"{PICTURES}: every map of your pictures, a row each", *files]
        shown.append(_own_pictures(Drawings(folder, synthetic=False), pictures))
    if faces is not None:
        maps = map_table(faces)
        regions = region_table(maps, faces)
        write_table(folder / MAPS, maps)
        write_table(folder / REGIONS, regions)
        content = "every map, a row each, with its face, the network's prediction and the thirds"
        files = [f"{MAPS}: {content}", f"{REGIONS}: the table above", *files]
        summary += _summary(record, faces, regions)
        drawings = Drawings(folder, record["synthetic"])
        shown += [_averages(drawings, faces), _regions(regions, faces.taxonomy)]
        shown.append(_gallery(drawings, faces, seed=record["seed"]))
    if record["notes"]:
        summary += [Text("Notes:"), Items(record["notes"])]
    write_json(folder / RECORD, record)
    sections = [
        Section("Summary", "", summary or [Text("The pictures below were explained one by one.")]),
        _reading(record["layers"]),
        *shown,
        Section("Files, and how to repeat it", "", [Items(files), Code(record["command"])]),
    ]
    kind = "its one network" if record["mode"] == FLAT else "its gate and its specialists"
    subtitle = f"Grad-CAM heat maps of {kind}, each for the class that the network predicts."
    write_page(report(f"Heat maps of {record['run']}", subtitle, sections, synthetic=record["synthetic"]), folder)


def _summary(record: Mapping[str, Any], faces: HeatMaps, regions: pd.DataFrame) -> Iterator[Block]:
    right = float((faces.predicted == faces.rows["emotion"].to_numpy(object)).mean())
    total = regions[regions["says"] == ALL]
    yield Tiles(
        (
            Tile("Faces", whole(len(faces.rows)), f"of {record['test_faces']:,} that it was not trained on"),
            Tile("Right predictions", percent(right), "on these faces"),
            Tile("Networks", str(len(record["layers"])), ", ".join(record["layers"])),
            Tile("Blank maps", whole(total["blank"].sum()), f"of {total['faces'].sum():,}"),
        )
    )
    hot = total[total["faces"] > total["blank"]].to_dict("records")
    yield Items([_hottest(row, faces.taxonomy) for row in hot])
    if len(faces.rows) < record["test_faces"]:
        yield Text("The faces are a random choice in which each emotion has its share.")


def _hottest(row: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    """One line on where a stage has most of its heat."""
    name = max(THIRDS, key=lambda third: row[third])
    return (
        f"{_stage_words(row['stage'], taxonomy)}, on the {row['modality']}: most heat lies in the {name} third "
        f"({percent(row[name])}; spread evenly it would be 33.3 %)."
    )


def _reading(layers: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Section:
    grids = sorted({tuple(place["grid"]) for places in layers.values() for place in places.values()})
    cells = " or ".join(f"{rows} x {columns}" for rows, columns in grids)
    lines = [
        "Bright places are those where the network's last layers found what raised the score of its prediction, be the "
        "prediction right or wrong. Places without colour did not raise it.",
        "Each map is scaled to its own hottest place. It shows where, not how much: colours of two faces, of two "
        "networks or of picture and depth cannot be compared in strength.",
        f"Maps are coarse: {cells} cells, enlarged smoothly. A cell has seen more of the face than lies below it, so "
        "the border of a bright place means nothing.",
        "A blank map is a finding too: nothing in the last layers raised the score; the other classes were ruled out.",
        "Heat beside the face is a warning: the network may go by the background, the hair or the cut of the picture.",
        "A heat map does not prove that a place decided. To know that, cover the place and predict again.",
        "It does not show what was seen there (a crease, a shadow, the edge of a beard), nor what lowered the scores "
        "of other classes. Wrong predictions have maps as tidy as right ones.",
    ]
    if any(DEPTH in places for places in layers.values()):
        lines.append("Picture and depth have a map each. Depth is drawn as heights: bright is near, pale is a hole.")
    hint = "Grad-CAM (Selvaraju et al., ICCV 2017): the last map of each network, weighed by what moves the prediction."
    return Section("How to read a heat map", hint, [Items(lines)])


def _averages(drawings: Drawings, faces: HeatMaps) -> Section:
    images = [
        draw_averages(
            drawings,
            f"average_{heat.stage}",
            f"{_stage_words(heat.stage, faces.taxonomy)}, by prediction",
            faces,
            heat,
        )
        for heat in faces.stages
        if len(heat.faces)
    ]
    hint = (
        "The mean of the maps of all faces with this prediction, over the mean of these faces. Every map counts alike "
        "(its hottest place is 1): a mean near 1 is a place that is hot on nearly every face. Colours run from the "
        "least to the largest mean of a figure; means of few faces are uncertain."
    )
    return Section("Prediction by prediction", hint, [Images(images)])


def _stage_words(stage: str, taxonomy: Taxonomy) -> str:
    if stage == FLAT:
        return "Flat network"
    return f"Gate {stage}" if stage == taxonomy.gate else f"Specialist {stage}"


def _regions(regions: pd.DataFrame, taxonomy: Taxonomy) -> Section:
    columns = {"Prediction": ("says", str), "Faces": ("faces", whole), "Blank": ("blank", whole)}
    columns |= {f"{third.capitalize()} %": (third, points) for third in THIRDS}
    tables: dict[str, list[Table]] = {}
    for (stage, modality), part in regions.groupby(["stage", "modality"], sort=False):
        caption = f"{_stage_words(stage, taxonomy)}, on the {modality}"
        table = Table.of(part.to_dict("records"), columns, caption=caption, strong=(0,))
        tables.setdefault(stage, []).append(table)
    hint = (
        "Shares of the heat in the upper third of the picture (brows, and eyes in most crops), the middle (nose and "
        "cheeks) and the lower (mouth and chin), as means over faces. Thirds are cut from the picture, not found in "
        "the face; heat spread evenly gives 33.3 each."
    )
    return Section("Which part of the face", hint, [Beside(own) for own in tables.values()])


def _gallery(drawings: Drawings, faces: HeatMaps, *, seed: int) -> Section:
    rng = np.random.default_rng(seed)
    images = []
    for emotion in faces.taxonomy.emotions:
        own = np.flatnonzero((faces.rows["emotion"] == emotion).to_numpy())
        if len(own):
            shown = np.sort(rng.choice(own, min(FACES_OF_EACH, len(own)), replace=False)).tolist()
            images.append(draw_gallery(drawings, f"gallery_{emotion}", f"Faces of {emotion}", faces, shown))
    hint = (
        "Faces drawn at random. Below each picture stands the run's prediction, below each map that of its network, "
        "with the probability; ✗ is wrong."
    )
    if faces.stages[0].stage != FLAT:
        hint += " Of the specialists, the one that has the predicted emotion is shown."
    return Section("Face by face", hint, [Images(images)])


def _own_pictures(drawings: Drawings, pictures: HeatMaps) -> Section:
    sheets = np.array_split(np.arange(len(pictures.rows)), range(FACES_A_SHEET, len(pictures.rows), FACES_A_SHEET))
    images = [
        draw_gallery(drawings, f"images_{number}", "Your pictures", pictures, sheet.tolist())
        for number, sheet in enumerate(sheets, start=1)
    ]
    hint = (
        "The pictures were taken as they are, as faces that fill the frame like those of the training. ✓ and ✗ stand "
        "only where the data set names the emotion."
    )
    return Section("Your pictures", hint, [Images(images)])
