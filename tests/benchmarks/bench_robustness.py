"""Accuracy of runs on their own validation faces, as they are and corrupted: what `--augment strong` was chosen by.

python tests/benchmarks/bench_robustness.py results/small-flat/seed*
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fer_hierarchy.hierarchy.classifiers.predictions import predict
from fer_hierarchy.hierarchy.classifiers.robustness import robust_rows, robustness
from fer_hierarchy.hierarchy.data.faces import read_faces
from fer_hierarchy.hierarchy.runs.run import Run
from fer_hierarchy.hierarchy.training.keras_stage import KerasStage


def scores(run: Run) -> dict[str, float]:
    """Top-1 in percent: `none`, then each corruption's mean over its strengths, then the mean of all of these."""
    faces = read_faces(run.config)
    rows = robust_rows(faces.split("validation"), seed=0)
    stages = run.load_stages(KerasStage)
    clean = predict(stages, run.taxonomy, faces.images.pixels, rows).probabilities
    found = robustness(stages, run.taxonomy, faces.images.pixels, rows, clean, resamples=100, seed=0)
    by_name = defaultdict(list)
    for one in found["corrupted"]:
        by_name[one["corruption"]].append(100 * one["top1"])
    means = {name: float(np.mean(values)) for name, values in by_name.items()}
    return {"none": 100 * found["clean"]["top1"], **means, "mean": float(np.mean(list(means.values())))}


def main() -> None:
    """Print a line for each run, and the mean of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN")
    table = {place: scores(Run(place)) for place in parser.parse_args().runs}
    table["mean"] = {name: float(np.mean([row[name] for row in table.values()])) for name in next(iter(table.values()))}
    for place, row in table.items():
        print(place, *(f"{name} {value:.1f}" for name, value in row.items()), sep="  ")


if __name__ == "__main__":
    main()
