"""A search shared by several processes or machines: the chief's part and the worker's."""

import dataclasses
import logging
import time
from pathlib import Path

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.config import DataConfig
from fer_hierarchy.hierarchy.data.faces import resolve_data
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.runs import run_folder
from fer_hierarchy.tuning.distributed.address import Address
from fer_hierarchy.tuning.distributed.oracle_server import RemoteOracle, new_worker_id, serve
from fer_hierarchy.tuning.search.oracles import build_oracle
from fer_hierarchy.tuning.search.pipeline import same_faces
from fer_hierarchy.tuning.search.study import STUDY, TRIALS, Study, read_study
from fer_hierarchy.tuning.search.trial_table import trial_table
from fer_hierarchy.tuning.search.tuner import StageTuner

_PAUSE = 1.0  # seconds between two checks for a study that its chief has not made yet

log = logging.getLogger("fer_hierarchy")


def serve_trials(tuner: StageTuner, *, address: Address) -> None:
    """Run a study's trials by handing them out at `address`."""
    study, oracle = tuner.study, tuner.oracle
    reported = set(oracle.end_order)

    def watch() -> None:
        """Write the table and a line of progress whenever a worker has ended a trial."""
        for trial_id in [trial_id for trial_id in oracle.end_order if trial_id not in reported]:
            reported.add(trial_id)
            score = oracle.trials[trial_id].score
            tuner.progress.advance(study.search.executions, "")
            text = "failed" if score is None else f"{study.objective} {score:.4f} on validation"
            tuner.progress.settle(f"trial {trial_id}: {text}")
            run_folder.write_table(tuner.folder / TRIALS, trial_table(oracle, study, tuner.folder))

    print(f"study {study.name}: the chief listens at {address}", flush=True)
    serve(oracle, address, study=study.name, idle=watch, until=tuner.budget.end)
    if len(oracle.end_order) < tuner.trials:
        tuner.budget.check()


def work(
    studies: Path, name: str | None, stage_type: type[Stage], *, address: Address, wait: float, data: DataConfig | None
) -> Path:
    """Run trials of a chief's search until there are no more.

    Args:
        studies: The folder of studies that chief and workers share.
        name: The study; None for the only one there.
        stage_type: What trains the stage.
        address: The chief's.
        wait: Most seconds until study and chief are there.
        data: Where the faces are on this machine, where it is another place than the chief's.

    Returns:
        The study's folder.

    Raises:
        UserError: No study, no chief, or other faces than the chief's.
    """
    end = time.monotonic() + wait
    folder = _awaited_study(studies, name, end)
    study = _at(read_study(folder), data)
    worker = new_worker_id()
    oracle = build_oracle(study)
    left = max(1, round(end - time.monotonic()))
    with RemoteOracle.connect(oracle, address, tuner_id=worker, wait=left, study=study.name) as remote:
        faces = same_faces(study)
        with run_folder.log_to(folder / "workers" / worker):
            stage_type.prepare(study.config)
            StageTuner(study, folder, stage_type, faces=faces, oracle=oracle, remote=remote).search()
    return folder


def _awaited_study(studies: Path, name: str | None, end: float) -> Path:
    """The study that the chief has made, or is about to make."""
    while True:
        found = [path.parent for path in studies.glob(f"*/{STUDY}") if name in (None, path.parent.name)]
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(sorted(path.name for path in found))
            raise UserError(f"{studies} holds several studies; name the chief's by --name: {named}")
        if time.monotonic() >= end:
            raise UserError(
                f"no study {name or ''} in {studies}: the chief makes it there; start the chief first, and name the "
                "folder that both can read by --study-dir"
            )
        time.sleep(_PAUSE)


def _at(study: Study, data: DataConfig | None) -> Study:
    """The study with the faces where this machine has them."""
    if data is None:
        return study
    own = dataclasses.replace(study.config.data, data=resolve_data(data).data)
    return dataclasses.replace(study, config=dataclasses.replace(study.config, data=own))
