"""What is published: weights that load and answer as they did, and figures that stand in a metrics.json.

`python -m tests.test_published` writes the answers anew that the weights are held to.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.hierarchy.paths import PUBLISHED, RESULTS, ROOT
from fer_hierarchy.inference.export.backends import open_model
from tests.conftest import run_program

FER2013 = ROOT.parent / "shared" / "data" / "fer2013"
TRUE = RESULTS / "fer2013" / "on-true-pixels"
HERE = Path(__file__).parent
ANSWERS = HERE / "published_answers.json"
RUNS = sorted(path.parent for path in (RESULTS / "fer2013").glob("*/stages"))  # an ensemble has no weights
LARGEST = 25e6  # bytes of all published weights together


def faces() -> np.ndarray:
    """Seven synthetic faces, drawn by this program: (7, 48, 48) uint8."""
    strip = np.asarray(Image.open(HERE / "published_faces.png"))
    return np.stack(np.split(strip, strip.shape[1] // strip.shape[0], axis=1))


def probabilities(run: Path) -> np.ndarray:
    """(7, emotions) of the faces above."""
    return open_model(str(run), RESULTS).predict(faces()[..., None])


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_weights_that_answer_by_default_are_published():
    assert PUBLISHED in RUNS


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_published_weights_give_the_committed_probabilities_of_synthetic_faces(run):
    np.testing.assert_allclose(probabilities(run), read(ANSWERS)[run.name], atol=2e-3)


def test_all_published_weights_together_are_small():
    assert sum(path.stat().st_size for path in (RESULTS / "fer2013").rglob("*.keras")) < LARGEST


def test_nothing_published_names_a_place_of_a_machine():
    for path in RESULTS.glob("fer*/**/*"):
        if path.suffix in (".json", ".csv", ".md", ".html"):
            found = re.search(r"[\s\"'=(](/(home|root|work|Users|mnt|tmp)/\S*)", path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found and found[1]}"


def spoken(record: dict) -> set[str]:
    """Every figure of a metrics.json as a table may show it."""
    validation = record.get("validation", {})
    shares = [validation.get("top1"), validation.get("macro_f1")]
    for scores in (*record["answers"].values(), *record["stages"].values()):
        shares += [scores[name] for name in ("top1", "balanced_accuracy", "macro_f1", "weighted_f1")]
        shares += [bound for pair in scores["intervals"].values() for bound in pair]
        shares += [row[name] for row in scores["per_class"] for name in ("recall", "precision", "f1")]
        if "group" in scores:
            shares += [scores["group"]["top1"], *scores["group"]["intervals"]["top1"]]
    cost = record["cost"]
    others = [f"{cost['multiply_adds'] / 1e6:.1f}", f"{cost['train_cpu_seconds'] / 3600:.1f}"]
    others += [f"{cost['parameters'] / 1e6:.2f}", f"{record.get('published', {}).get('bytes', 0) / 1e6:.1f}"]
    return {f"{100 * share:.1f}" for share in shares if share is not None} | set(others)


def rows(text: str) -> list[tuple[Path, str]]:
    """The published runs that tables between the marks name, each with its row."""
    parts = re.findall(r"<!-- published -->(.*?)<!-- end -->", text, flags=re.DOTALL)
    lines = [line for part in parts for line in part.splitlines()]
    found = [(re.search(r"\(((?:results/)?fer2013/[\w-]+)/", line), line) for line in lines]
    return [(RESULTS / "fer2013" / match[1].rpartition("/")[2], line) for match, line in found if match]


def test_every_figure_of_the_headline_tables_stands_in_a_metrics_json():
    quoted = rows((RESULTS / "README.md").read_text(encoding="utf-8"))
    assert quoted
    for run, line in quoted:
        known = spoken(read(run / "metrics.json"))
        told = re.sub(r"\]\([^)]*\)", "]", line)
        for figure in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", told):
            assert figure in known, f"{figure} of {run.name}"


@pytest.mark.parametrize("page", ["README.md", "results/README.md"])
def test_every_figure_on_true_pixels_stands_in_its_metrics_json(page):
    part = re.search(
        r"<!-- true pixels -->(.*?)<!-- end -->", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL
    )
    lines = part[1].strip().splitlines()[2:]
    assert len(lines) == len(RUNS)
    for line in lines:
        name = re.search(r"fer2013/on-true-pixels/([\w-]+)/metrics.json", line)[1]
        true, equalised = read(TRUE / name / "metrics.json"), read(RESULTS / "fer2013" / name / "metrics.json")
        assert not true["data"]["pixels"]["altered"]
        _, first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        assert first in spoken(equalised)
        assert set(re.findall(r"\d+\.\d", " ".join(others))) <= spoken(true)


def test_model_cards_say_which_pixels_their_figures_are_about():
    for run in RUNS:
        true = read(TRUE / run.name / "metrics.json")
        card = (run / "model_card.md").read_text(encoding="utf-8")
        top1 = true["answers"][true["headline"]]["top1"]
        assert "histogram-equalised" in card
        assert f"On the true PublicTest faces its top-1 accuracy is {100 * top1:.1f} (" in card


def paired_rows(record: dict) -> set[str]:
    """Every pair of a comparison.json as the table of paired differences tells it, but for the runs' names."""
    found = set()
    for pair in record["pairs"]:
        top1, alone = pair["differences"]["top1"], pair["mcnemar"]
        points = [f"{100 * top1[name]:+z.1f}".replace("-", "\N{MINUS SIGN}") for name in ("difference", "low", "high")]
        chance = "p < 0.001" if alone["p"] < 0.001 else f"p = {alone['p']:.3f}"
        cells = f"{points[0]} ({points[1]} to {points[2]})", f"{alone['b_only']} against {alone['a_only']}", chance
        found.add(f"{pair['b']} minus {pair['a']} | {' | '.join(cells)}")
    return found


def test_every_paired_difference_stands_in_the_committed_comparison():
    known = paired_rows(read(RESULTS / "fer2013" / "compared" / "comparison.json"))
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    part = re.search(r"<!-- paired -->(.*?)<!-- end -->", page, flags=re.DOTALL)[1]
    told = [line.strip("| ") for line in part.strip().splitlines()[2:]]
    assert told
    assert set(told) <= known


def figures(measures: dict) -> set[str]:
    """A run's, a mean's or a difference's figures as tables show them: percent with bounds; differences with a sign."""
    held = [measures[name] for name in ("top1", "balanced_accuracy", "macro_f1")]
    if "intervals" in measures:
        held += [bound for pair in measures["intervals"].values() for bound in pair]
    elif "difference" in held[0]:
        points = [difference[name] for difference in held for name in ("difference", "low", "high")]
        return {f"{100 * share:+z.1f}".replace("-", "\N{MINUS SIGN}") for share in points}
    else:
        held = [mean[name] for mean in held for name in ("mean", "std")]
    return {f"{100 * share:.1f}" for share in held}


def known_by(record: dict) -> dict[str, set[str]]:
    """What a comparison.json knows: a run, or the folder of several seeds, or two such folders -> its figures."""
    found = {row["name"]: figures(row) for row in record["runs"]}
    for pair in record["pairs"]:
        chance = pair["mcnemar"]["p"]
        found[pair["b"]] |= figures(pair["differences"]) | {"0.001" if chance < 0.001 else f"{chance:.3f}"}
    for repeat in record["repeats"]:
        found[_folder(repeat["runs"])] = figures(repeat)
    for pair in record["repeated_pairs"]:
        chance = pair["differences"]["top1"]["p"]
        name = f"{_folder(pair['b'])} minus {_folder(pair['a'])}"
        found[name] = figures(pair["differences"]) | {"0.001" if chance < 0.001 else f"{chance:.3f}"}
    return found


def _folder(names: list[str]) -> str:
    (folder,) = {name.split("/")[0] for name in names}
    return folder


def test_every_figure_of_the_small_trainings_stands_in_their_comparison():
    page = (RESULTS / "README.md").read_text(encoding="utf-8")
    parts = re.findall(r"<!-- compared ([\w/-]+) -->(.*?)<!-- end -->", page, flags=re.DOTALL)
    assert parts
    for place, part in parts:
        known = known_by(read(RESULTS / place / "comparison.json"))
        for line in part.strip().splitlines()[2:]:
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            told = re.findall(r"(?<![\w.])[+\u2212]?\d+\.\d+(?![\w.])", " ".join(cells))
            assert told, line
            assert set(told) <= known[name], line


@pytest.mark.real_data
@pytest.mark.skipif(not FER2013.exists(), reason=f"no FER-2013 in {FER2013}")
def test_the_published_figures_come_out_again(tmp_path):
    ((code, text),) = run_program(
        ("--mode", "evaluate", PUBLISHED, "--data", FER2013, "--results", tmp_path, "--name", "again")
    )
    assert code == 0, text
    again = read(tmp_path / "again" / "metrics.json")
    records = [read(PUBLISHED / "metrics.json"), read(TRUE / PUBLISHED.name / "metrics.json")]
    fitting = [record for record in records if record["data"]["fingerprint"] == again["data"]["fingerprint"]]
    if not fitting:
        pytest.skip(f"nothing is published for the faces {again['data']['fingerprint']}")
    (published,) = fitting
    assert again["test_fingerprint"] == published["test_fingerprint"]
    headline = published["headline"]
    for name in ("n", "top1", "balanced_accuracy", "macro_f1"):
        assert again["answers"][headline][name] == pytest.approx(published["answers"][headline][name], abs=6e-4), name


if __name__ == "__main__":
    answers = {run.name: probabilities(run).round(5).tolist() for run in RUNS}
    ANSWERS.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
