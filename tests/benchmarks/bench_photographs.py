"""From photograph to emotion: how many faces are found, how many predicted right, by detector, cut and margin.

    python tests/benchmarks/bench_photographs.py --photos FOLDER --labels FILE
    python tests/benchmarks/bench_photographs.py --data data/fer2013 --split test --make made

The labels are a csv of `file` and `emotion`: of the largest face of each picture, or with `left`, `top`, `width` and
`height` of the face there. Without `--photos` the pictures are made of FER-2013's faces, see `made_photographs.py`;
what is chosen (cut, margin, scores) is chosen on `--split validation`. `--fer PYTHON`, an interpreter that has the
package fer 25.10.3, measures it on the same files. Prefix `taskset -c 0` for times on one core.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import pandas as pd
from made_photographs import backgrounds, make_photographs, without_faces

from fer_hierarchy import Predictor
from fer_hierarchy.hierarchy.data.decoding import read_image
from fer_hierarchy.hierarchy.data.sources import read_source
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.significance import bootstrap_intervals, confusion_counts, confusion_figures
from fer_hierarchy.hierarchy.paths import PUBLISHED, RESULTS
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.inference.default_model import default_model
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.model import prepared

_BOX = ["left", "top", "width", "height"]
_CUTS = ("points", "box, leveled", "box")
_SIZES = ((480, 640), (720, 1280), (1080, 1920))  # height, width

Cut = tuple[str, float]  # how, and what is added to the face's own margin


def main() -> None:
    """Measure and print."""
    given = _arguments()
    cv2.setNumThreads(1)
    half = int(given.split == "test")
    with tempfile.TemporaryDirectory() as temporary:
        photos, labels = given.photos, given.labels
        if photos is None:
            photos = given.make or Path(temporary)
            labels = _made(given, photos, half)
        table = pd.read_csv(labels)
        print(f"{len(table):,} labelled faces in {table['file'].nunique():,} pictures; seed {given.seed}")
        _measure(given, table, photos)
        if given.fer:
            _measure_fer(given, table, photos)
    _count_false(given, backgrounds(given.backgrounds, half))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: they are made)")
    parser.add_argument("--labels", type=Path, help="csv of file and emotion")
    parser.add_argument("--data", type=Path, help="FER-2013, whose faces photographs are made of")
    parser.add_argument("--split", choices=("validation", "test"), default="validation", help="of the published run")
    parser.add_argument("--make", type=Path, help="folder to keep made photographs and their labels in")
    parser.add_argument("--backgrounds", type=Path, nargs="*", default=[], help="folders of further sample pictures")
    parser.add_argument("--limit", type=int, help="faces, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="the model (default: the published one)")
    parser.add_argument("--detectors", nargs="+", default=["blazeface", "haar"], help="also mtcnn")
    parser.add_argument("--margins", nargs="+", type=float, default=[0.0], help="added to each detector's own")
    parser.add_argument("--votes", type=Path, help="votes.csv of FER+: also counts the faces that it calls faces")
    parser.add_argument("--empty", type=int, default=200, help="pictures without a face")
    parser.add_argument("--fer", type=Path, help="python of an environment with fer==25.10.3")
    given = parser.parse_args()
    if (given.photos is None) != (given.labels is None) or (given.photos is None) == (given.data is None):
        parser.error("give --photos and --labels, or --data")
    return given


def _made(given: argparse.Namespace, folder: Path, half: int) -> Path:
    """Make photographs of the faces that the published run validated or tested on."""
    rows = Run(PUBLISHED).splits
    rows = rows[rows["split"] == given.split]
    read = read_source(given.data, dataset="fer2013")
    files = dict(zip(read["id"], map(Path, read["path"]), strict=True))
    order = np.random.default_rng(given.seed).permutation(len(rows))[: given.limit]
    rows = rows.iloc[np.sort(order)]
    faces = [files[name] for name in rows["row"]]
    return make_photographs(
        folder, faces, rows["emotion"].tolist(), backgrounds(given.backgrounds, half), seed=given.seed
    )


def _measure(given: argparse.Namespace, table: pd.DataFrame, photos: Path) -> None:
    """Print the scores of the faces as they were, where they are there, and of each detector, cut and margin."""
    predictor = Predictor.load(given.run or default_model(RESULTS, quick=True))
    emotions = list(predictor.facts.taxonomy.emotions)
    scored = _Scores(table, emotions, given.votes)

    def predict(faces: list[np.ndarray]) -> np.ndarray:
        return predictor.predict_each([faces])[0].argmax(axis=1)

    print("| " + " | ".join(_HEADINGS) + " |\n|" + "---|" * len(_HEADINGS))
    if "face" in table:
        scored.direct = predict([read_image(photos / name) for name in table["face"]])
        scored.show("given directly", scored.direct)
    for name in given.detectors:
        detector = Predictor.load(given.run or default_model(RESULTS, quick=True), detector=name).detector
        cuts = [(cut, margin) for cut in _CUTS if name != "haar" or cut == "box" for margin in given.margins]
        found, faces, seconds = _found(detector, predictor, table, photos, cuts)
        for cut in cuts:
            start = time.process_time()
            predicted = np.full(len(table), len(emotions))
            predicted[found] = predict(faces[cut])
            spent = seconds + time.process_time() - start
            scored.show(f"{name}, {cut[0]}, {cut[1]:+.2f}", predicted, spent, kinds=cut == cuts[0])


def _found(
    detector: object, predictor: Predictor, table: pd.DataFrame, photos: Path, cuts: Sequence[Cut]
) -> tuple[np.ndarray, dict[Cut, list[np.ndarray]], float]:
    """Places in the table of the faces that are found, these as each cut gives them, and the CPU-seconds of finding."""
    places, faces, seconds = [], {cut: [] for cut in cuts}, 0.0
    for name, rows in table.groupby("file", sort=False):
        picture = read_image(photos / str(name))
        start = time.process_time()
        found = detector.find([picture])[0]
        seconds += time.process_time() - start
        for place, face in _matched(rows, [face.box for face in found]):
            places.append(place)
            for cut in cuts:
                faces[cut].append(prepared([_cut(picture, found[face], cut)], predictor.facts)[0, ..., 0])
    return np.array(places, dtype=int), faces, seconds


def _matched(rows: pd.DataFrame, boxes: Sequence[Sequence[float]]) -> Iterator[tuple[int, int]]:
    """(place in the table, number of the box) of the labelled faces among the boxes, the largest box first."""
    if not len(boxes):
        return
    if "left" not in rows:
        yield int(rows.index[0]), int(np.argmax([box[2] * box[3] for box in boxes]))
        return
    middles = np.array([[box[0] + box[2] / 2, box[1] + box[3] / 2] for box in boxes])
    for place, label in zip(rows.index, rows[_BOX].to_numpy(float), strict=True):
        away = np.abs(middles - label[:2] - label[2:] / 2).max(axis=1)
        wide = np.array([max(box[2:4]) for box in boxes])
        fits = (away < 0.25 * label[2:].max()) & (wide > 0.4 * label[2:].max()) & (wide < 2 * label[2:].max())
        if fits.any():
            yield int(place), int(np.where(fits, away, np.inf).argmin())


def _cut(picture: np.ndarray, face: Face, cut: Cut) -> np.ndarray:
    how, margin = cut
    if how != "points" and face.points is not None:
        face = dataclasses.replace(face, points=face.points[:2])
    return crop(picture, face, margin=face.margin + margin, align=how != "box")


_HEADINGS = (
    *(
        "Found by, cut, margin",
        "Faces",
        "n",
        "Found %",
        "Found % (faces by FER+)",
        "Right of found %",
        "Right of all %",
    ),
    *("Balanced, of all %", "Found minus direct", "All minus direct", "CPU-s"),
)


class _Scores:
    """Prints scores of predictions of the labelled faces; a face that was not found counts as wrong."""

    def __init__(self, table: pd.DataFrame, emotions: list[str], votes: Path | None) -> None:
        if unknown := set(table["emotion"]) - set(emotions):
            raise UserError(f"labels: {', '.join(sorted(unknown))}; expected {', '.join(emotions)}")
        self._table, self._count = table, len(emotions)
        self._truth = np.array([emotions.index(word) for word in table["emotion"]])
        self._groups = table["file"].to_numpy(str)
        self._real = None if votes is None else _real_faces(table, votes)
        self.direct: np.ndarray | None = None

    def show(self, name: str, predicted: np.ndarray, seconds: float | None = None, *, kinds: bool = True) -> None:
        """Print rows of a table: all faces, and where the labels name kinds, these."""
        pictures = len(set(self._groups))
        cost = "-" if seconds is None else f"{seconds:.0f} ({1000 * seconds / pictures:.0f} ms a picture)"
        self._row(name, "all", predicted, np.ones(len(predicted), dtype=bool), cost)
        for kind in self._table["kind"].unique() if kinds and "kind" in self._table else ():
            self._row(name, kind, predicted, (self._table["kind"] == kind).to_numpy(), "-")

    def _row(self, name: str, kind: str, predicted: np.ndarray, rows: np.ndarray, cost: str) -> None:
        seen = (predicted < self._count).astype(int)
        found, ones = rows & (seen == 1), np.ones_like(seen)
        cells = [name, kind, f"{rows.sum():,}", self._share(ones, seen, rows)]
        cells.append("-" if self._real is None else self._share(ones, seen, rows & self._real))
        cells += [self._share(self._truth, predicted, some) for some in (found, rows)]
        cells.append(self._share(self._truth, predicted, rows, "balanced_accuracy"))
        compared = self.direct is not None and predicted is not self.direct
        cells += [self._minus_direct(predicted, some) if compared else "-" for some in (found, rows)]
        print("| " + " | ".join((*cells, cost)) + " |", flush=True)

    def _share(self, truth: np.ndarray, predicted: np.ndarray, rows: np.ndarray, figure: str = "top1") -> str:
        if not rows.any():
            return "-"
        count = self._count + 1
        low, high = bootstrap_intervals(truth[rows], predicted[rows], count, groups=self._groups[rows])[figure]
        value = confusion_figures(confusion_counts(truth[rows], predicted[rows], count))[figure]
        return f"{100 * value:5.1f} ({100 * low:.1f} to {100 * high:.1f})"

    def _minus_direct(self, predicted: np.ndarray, rows: np.ndarray) -> str:
        """Points of accuracy, with the interval of the mean of pictures' differences."""
        better = ((predicted == self._truth).astype(int) - (self.direct == self._truth))[rows]
        sums = pd.DataFrame({"file": self._groups[rows], "better": better, "n": 1}).groupby("file").sum()
        drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=1000)
        low, high = np.percentile(drawn @ sums["better"] / (drawn @ sums["n"]), [2.5, 97.5])
        return f"{100 * better.mean():+5.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _real_faces(table: pd.DataFrame, votes: Path) -> np.ndarray:
    """(n,) whether no one of FER+'s ten voters called it no face; true where the face is not there."""
    counts = pd.read_csv(votes).assign(name=lambda rows: rows["file"].str.rsplit(".", n=1).str[0])
    noes = counts.drop_duplicates("name").set_index("name")["NF"]
    return (table["face"].map(lambda name: Path(name).stem).map(noes).fillna(0) == 0).to_numpy()


def _measure_fer(given: argparse.Namespace, table: pd.DataFrame, photos: Path) -> None:
    """Print the scores of the package `fer` on the same pictures."""
    files = list(dict.fromkeys(table["file"]))
    paths = json.dumps([str((photos / name).resolve()) for name in files])
    program = [str(given.fer), str(Path(__file__).with_name("fer_photographs.py"))]
    told = json.loads(subprocess.run(program, input=paths, capture_output=True, text=True, check=True).stdout)
    emotions = list(Predictor.load(given.run or default_model(RESULTS, quick=True)).facts.taxonomy.emotions)
    predicted = np.full(len(table), len(emotions))
    for name, faces in zip(files, told["faces"], strict=True):
        for place, face in _matched(table[table["file"] == name], [one[:4] for one in faces]):
            predicted[place] = emotions.index(faces[face][4])
    _Scores(table, emotions, given.votes).show("fer 25.10.3", predicted, told["seconds"])


def _count_false(given: argparse.Namespace, pictures: Sequence[np.ndarray]) -> None:
    """Print how many faces each detector finds in pictures without one, and its time at several sizes."""
    empty = without_faces(pictures, given.empty, given.seed)
    for name in given.detectors:
        detector = Predictor.load(given.run or default_model(RESULTS, quick=True), detector=name).detector
        counts = [len(detector.find([picture])[0]) for picture in empty]
        times = []
        for height, width in _SIZES:
            some = [cv2.cvtColor(cv2.resize(one, (width, height)), cv2.COLOR_GRAY2RGB) for one in empty[:9]]
            times.append(f"{width}x{height} {1000 * np.median([_seconds(detector, one) for one in some]):.0f} ms")
        print(
            f"\n{name}: {sum(counts)} faces in {np.count_nonzero(counts)} of {len(empty)} pictures without one; ",
            end="",
        )
        print("; ".join(times))


def _seconds(detector: object, picture: np.ndarray) -> float:
    start = time.process_time()
    detector.find([picture])
    return time.process_time() - start


if __name__ == "__main__":
    main()
