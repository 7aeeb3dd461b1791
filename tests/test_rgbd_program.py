"""Colour and depth through the command line, from folders of the field's layouts to reports, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.config import RunConfig, apply_flags
from fer_hierarchy.hierarchy.data.faces import read_faces
from tests.conftest import CHECKOUT, QUICK, run_program

WORDS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
BACKBONE = "compact_resnet/stem_width=6/widths=12/blocks=1/strides=2/squeeze_from=none"
SMALL = (*QUICK, "--image-size", "32", "--epochs", "1", "--model", f"rgbd_fusion:backbone={BACKBONE}")
RGBD = CHECKOUT.parent / "shared" / "data" / "rgbd"


def write_pairs(root: Path, *, part: str, subjects: int) -> Path:
    """A copy of the CalD3r & MenD3s layout: a bump in the depth and a bar in the colours tell the emotion."""
    rng = np.random.default_rng(len(part))
    for number, word in enumerate(WORDS):
        for kind in ("RGB", "DEPTH"):
            (root / part / word.capitalize() / kind).mkdir(parents=True)
        for subject in range(1, subjects + 1):
            colour = rng.integers(60, 120, (40, 40, 3), dtype=np.uint8)
            colour[4 + 4 * number : 8 + 4 * number] = 230
            depth = np.full((40, 40), 4800, np.uint16) + rng.integers(0, 8, (40, 40), dtype=np.uint16)
            depth[4 + 4 * number : 8 + 4 * number, 10:30] -= 160
            depth[:2], depth[12:14, 18:20] = 0, 0
            name = f"F_{subject:03d}_{number}{subject:03d}_{word}"
            Image.fromarray(colour).save(root / part / word.capitalize() / "RGB" / f"{name}_Color.png")
            Image.fromarray(depth).save(root / part / word.capitalize() / "DEPTH" / f"{name}_Depth.png")
    return root


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), part="CalD3r", subjects=6)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> tuple[Path, list[tuple[int, str]]]:
    """The results folder, and what was printed, of a run on such data and of what is done with a run."""
    results = tmp_path_factory.mktemp("results")
    other = write_pairs(tmp_path_factory.mktemp("more"), part="MenD3s", subjects=3)
    at = ("--results", results, "--logs", results.parent / "logs")
    given = ("--data", pairs, *SMALL, *at)
    return results, run_program(
        ("--mode", "hierarchical", *given, "--modality", "valence=depth,positive=rgb", "--name", "tree"),
        ("--mode", "explain", "tree", "--results", results, "--name", "why"),
        ("--mode", "evaluate", "tree", "--data", other, "--results", results, "--name", "elsewhere"),
    )


def reported(results: Path, done: list[tuple[int, str]], *names: str) -> bool:
    """Whether every command has ended well and left a report."""
    assert [code for code, _ in done] == [0] * len(done), [text[-800:] for code, text in done if code]
    return all((results / name / "report.html").is_file() for name in names)


def test_everything_that_is_done_with_pictures_is_done_with_pairs(ran):
    assert reported(*ran, "tree", "why", "elsewhere")


def test_each_stage_sees_what_it_was_told_to_see(ran):
    results, _ = ran
    stages = {
        name: json.loads((results / "tree" / "stages" / name / "stage.json").read_text())["record"]["modality"]
        for name in ("valence", "positive", "negative")
    }
    assert stages == {"valence": "depth", "positive": "rgb", "negative": None}


@pytest.mark.slow
def test_an_ablation_is_about_the_very_same_faces_and_folds_are_reported(pairs, tmp_path):
    results = tmp_path / "results"
    given = ("--data", pairs, *SMALL, "--results", results, "--logs", tmp_path / "logs")
    done = run_program(
        ("--mode", "crossval", *given, "--folds", 2, "--name", "folds"),
        ("--mode", "grid", *given, "--axis", "modality=rgb,depth,rgbd", "--name", "ablation"),
    )
    assert reported(results, done, "folds", "ablation")
    tables = [
        pd.read_csv(results / "ablation" / name / "predictions.csv", dtype=str)["row"].tolist()
        for name in ("rgb", "depth", "rgbd")
    ]
    assert tables[0] == tables[1] == tables[2]


def read(*data: Path, **flags: str):
    """The faces that a run on such data would see, 32 px."""
    given = {"data": list(map(str, data)), "image_size": "32", "channels": "3", "model": "rgbd_fusion", **flags}
    return read_faces(apply_flags(RunConfig(), given))


def test_people_of_merged_data_sets_are_different_people(pairs, tmp_path):
    merged = read(pairs, write_pairs(tmp_path, part="MenD3s", subjects=3)).manifest
    assert len(merged) == 7 * (6 + 3)
    people = merged["source"] + merged["subject"]
    assert people.nunique() == 9
    assert merged.groupby(people)["split"].nunique().max() == 1


def test_explanations_tell_picture_and_depth_apart(ran):
    results, _ = ran
    regions = pd.read_csv(results / "why" / "regions.csv")
    seen = {(row.stage, row.modality) for row in regions.itertuples()}
    assert ("valence", "depth") in seen
    assert ("valence", "picture") not in seen


REFUSED = {
    ("--model", "compact_resnet", "--modality", "depth"): "--modality depth belongs to an RGB-D model",
    ("--model", "rgbd_fusion,positive=convnet"): "stage positive is convnet, but other stages read depth",
    ("--model", "rgbd_fusion:fusion=middle"): "fusion is 'middle'",
    ("--model", "rgbd_fusion:modality=rgb"): "--modality",
    ("--model", "rgbd_fusion", "--depth", "hha"): "--depth: expected one of relief, distance, normals",
    ("--model", "rgbd_fusion", "--min-intensity", "3"): "this data has no intensities",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, pairs: Path, fer_folder: Path) -> dict:
    """What was printed for each bad command line, for faces without depth (None), and the results folder."""
    place = tmp_path_factory.mktemp("refused") / "r"
    at = ("--results", place, "--logs", place.parent / "l")
    plain = ("--data", fer_folder, "--model", "rgbd_fusion", *at)
    done = run_program(*(("--data", pairs, *argv, *at) for argv in REFUSED), plain)
    return {"place": place, **dict(zip((*REFUSED, None), done, strict=True))}


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
def test_what_does_not_go_together_is_one_line(argv, refused):
    code, text = refused[argv]
    assert code == 2
    assert REFUSED[argv] in text.splitlines()[-1]
    assert "Traceback" not in text
    assert not list(refused["place"].glob("*"))


def test_data_without_depth_is_one_line(refused):
    code, text = refused[None]
    assert code == 2
    assert "fer2013 has no depth, which an RGB-D model needs" in text


def test_bad_pairs_are_named_and_can_be_left_out(pairs, tmp_path):
    data = shutil.copytree(pairs, tmp_path / "data")
    words = ("Fear", "Anger", "Disgust", "Sadness", "Surprise")
    files = [min((data / "CalD3r" / word / "DEPTH").iterdir()) for word in words]
    shape = (40, 40)
    bad = {
        files[0]: (np.full(shape, 200, np.uint8), "8-bit depth"),
        files[1]: (np.full((20, 20), 4800, np.uint16), "20x20 pixels, its picture has 40x40"),
        files[2]: (np.zeros(shape, np.uint16), "all"),
        files[3]: (np.full(shape, 600, np.uint16), "in units of 1 mm it would be 600 mm"),
    }
    for path, (pixels, _) in bad.items():
        Image.fromarray(pixels).save(path)
    files[4].unlink()
    at = ("--results", tmp_path / "r", "--logs", tmp_path / "l", "--data", data, *SMALL, "--mode", "flat")
    ((code, text),) = run_program(at)
    assert code == 2
    for path, (_, reason) in bad.items():
        assert path.name in text
        assert reason in text
    assert "no depth beside this picture" in text
    rest = read(data, skip_bad=True)
    assert len(rest.images.bad) == 5
    assert len(rest.manifest) == 7 * 6 - 5


@pytest.mark.real_data
@pytest.mark.skipif(not RGBD.is_dir(), reason=f"no rendered RGB-D data in {RGBD}")
def test_all_three_layouts_merge():
    merged = read(*(RGBD / name for name in ("CalD3rMenD3s", "BU3DFE", "BosphorusDB")), skip_bad=True)
    assert merged.images.pixels.shape[1:] == (32, 32, 4)
    assert merged.manifest["source"].value_counts().to_dict() == {"cald3rmend3s": 539, "bu3dfe": 100, "bosphorus": 56}
