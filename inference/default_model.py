"""Which model predicts where the user names none: the published hierarchy, else the newest run."""

import logging
from pathlib import Path

from fer_hierarchy.hierarchy.config import TRAINING_MODES
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CALL, CONFIG, METRICS, PUBLISHED
from fer_hierarchy.hierarchy.runs.run_folder import read_json

log = logging.getLogger("fer_hierarchy")


def default_model(results: Path, *, quick: bool = False) -> str:
    """The published weights; the newest finished run in `results` where there are none, with a warning.

    Args:
        results: Folder of all runs.
        quick: Take the published weights as the TFLite file beside them, which starts without TensorFlow and predicts
            alike, but whose networks cannot be explained.

    Raises:
        UserError: There is neither.
    """
    exported = PUBLISHED / "export" / f"{PUBLISHED.name}.tflite"
    if quick and exported.is_file():
        return str(exported)
    if (PUBLISHED / CONFIG).is_file():
        return str(PUBLISHED)
    finished = sorted(results.glob(f"*/{METRICS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    newest = next((path.parent for path in finished if _is_trained(path)), None)
    if newest is None:
        raise UserError(
            f"no model: there are no published weights, and no finished run in {results}; "
            f"train one ({CALL} --mode hierarchical) or name one with --run"
        )
    log.warning("No --run was given: the newest run, %s, predicts.", newest.name)
    return str(newest)


def _is_trained(metrics: Path) -> bool:
    """Whether a folder is a run with networks of its own: not an evaluation, a comparison or damaged."""
    try:
        mode = read_json(metrics).get("mode")
    except UserError:
        return False
    return mode in TRAINING_MODES and (metrics.parent / CONFIG).is_file()
