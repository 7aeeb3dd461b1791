"""One network for all stages of a hierarchy: its outputs are the logits of gate and specialists, side by side.

It is trained like a flat network on the composed logits (see `models.heads`); then each stage is a slice of it.
"""

import numpy as np

from fer_hierarchy.hierarchy.classifiers.stage import Stage
from fer_hierarchy.hierarchy.taxonomy import TRUNK, Taxonomy


def trunk_stage(stage_type: type[Stage], taxonomy: Taxonomy) -> Stage:
    """What is trained: a stage of all heads' classes, gate first, that learns the emotions."""
    names, emotions = taxonomy.stages("hierarchical"), taxonomy.emotions
    return stage_type(
        name=TRUNK,
        classes=tuple(word for name in names for word in taxonomy.stage_classes(name)),
        groups=tuple(tuple(map(emotions.index, taxonomy.members(group))) for group in taxonomy.group_names),
    )


def head_stages(trunk: Stage, taxonomy: Taxonomy) -> dict[str, Stage]:
    """The stages that a trained trunk predicts, by name, not calibrated yet; each has the trunk's record."""
    stages, first = {}, 0
    for name in taxonomy.stages("hierarchical"):
        classes = taxonomy.stage_classes(name)
        columns = (first, first + len(classes))
        stages[name] = type(trunk)(
            name=name,
            classes=classes,
            network=trunk.network,
            columns=columns,
            mirror=trunk.mirror,
            record=dict(trunk.record),
        )
        first = columns[1]
    return stages


def level_prior(stage: str, taxonomy: Taxonomy) -> np.ndarray:
    """Shares of a stage's classes, float64 (classes,), where training shows all emotions alike.

    A group then has as large a share as it has emotions; within a group all have the same. Undoing that stage by stage
    is exact for a specialist; for the gate it leaves aside that the mixture within the groups was another one, too.
    """
    labels = np.array(taxonomy.stage_labels(stage, taxonomy.emotions))
    counts = np.bincount(labels[labels >= 0], minlength=len(taxonomy.stage_classes(stage)))
    return counts / counts.sum()
