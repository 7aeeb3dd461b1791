"""HierarchicalClassifier: P(emotion|x) = P(group|x) * P(emotion|group, x); soft, hard and oracle routing."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.evaluation.probabilities import as_probabilities
from fer_hierarchy.hierarchy.taxonomy import Taxonomy

ROUTINGS = ("soft", "hard", "oracle")


class HierarchicalClassifier:
    """Multiplies a gate's and its specialists' probabilities into one prediction over all emotions.

    The gate and each specialist are what Silla and Freitas, "A survey of hierarchical classification across different
    application domains", Data Mining and Knowledge Discovery 22, 2011, call a local classifier per parent node;
    multiplying along the path is the combiner of that name in hiclass. Factors are only comparable when each is
    calibrated, so calibrate the stages before composing them.

    Attributes:
        taxonomy: The grouping; columns follow its class orders everywhere.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy

    def compose(
        self,
        gate: ArrayLike,
        specialists: Mapping[str, ArrayLike],
        routing: str = "soft",
        *,
        true_groups: Sequence[str] | ArrayLike | None = None,
    ) -> np.ndarray:
        """Compose the stages' predictions for the same n faces.

        Args:
            gate: (n, groups) P(group|x), columns as `taxonomy.group_names`.
            specialists: Group -> (n, members) P(emotion|group, x), columns as `taxonomy.members(group)`. A group of
                one emotion needs none.
            routing: "soft" weighs every specialist by the gate; "hard" takes only the specialist of the likeliest
                group (the first of equals); "oracle" takes only that of the true group.
            true_groups: (n,) group names or indices, for "oracle" only.

        Returns:
            (n, emotions) float64, rows sum to 1, columns as `taxonomy.emotions`.

        Raises:
            UserError: A wrong shape, a missing or unknown specialist, rows that are no probabilities, unknown routing.
        """
        gate = as_probabilities(gate, len(self.taxonomy.groups), f"probabilities of the gate {self.taxonomy.gate!r}")
        given = self.conditional(specialists, rows=len(gate))
        weights = self._route(gate, routing, true_groups)
        return weights[:, self.taxonomy.group_index] * given

    def conditional(self, specialists: Mapping[str, ArrayLike], *, rows: int | None = None) -> np.ndarray:
        """P(emotion | the emotion's own group, x): the specialists side by side, 1 for a group of one emotion.

        Args:
            specialists: As for `compose`.
            rows: Number of faces; taken from the specialists when None.

        Returns:
            (n, emotions) float64; the columns of each group sum to 1.

        Raises:
            UserError: As for `compose`.
        """
        self._check_names(specialists)
        if rows is None:
            if not specialists:
                raise UserError("conditional probabilities without a specialist: give rows, the number of faces")
            rows = len(np.asarray(next(iter(specialists.values()))))
        emotions = self.taxonomy.emotions
        given = np.ones((rows, len(emotions)))
        for group, values in specialists.items():
            members = self.taxonomy.members(group)
            table = as_probabilities(values, len(members), f"probabilities of the specialist {group!r}")
            if len(table) != rows:
                raise UserError(f"specialist {group!r}: got {len(table)} faces; the other stages have {rows}")
            given[:, [emotions.index(e) for e in members]] = table
        return given

    def imply(self, flat: ArrayLike) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The gate and specialists that a flat prediction implies: summed per group, renormalised within each.

        Args:
            flat: (n, emotions) P(emotion|x), columns as `taxonomy.emotions`.

        Returns:
            (n, groups) gate and group -> (n, members), one for each of `taxonomy.specialists`. Where a group has no
            probability at all its specialist is uniform. Composing them softly gives `flat` again.

        Raises:
            UserError: Wrong shape, or rows that are no probabilities.
        """
        emotions = self.taxonomy.emotions
        flat = as_probabilities(flat, len(emotions), "probabilities of the flat prediction")
        columns = {g: [emotions.index(e) for e in self.taxonomy.members(g)] for g in self.taxonomy.group_names}
        gate = np.stack([flat[:, members].sum(axis=1) for members in columns.values()], axis=1)
        specialists = {}
        for index, group in enumerate(self.taxonomy.group_names):
            if group in self.taxonomy.specialists:
                members = flat[:, columns[group]]
                uniform = np.full_like(members, 1 / members.shape[1])
                specialists[group] = np.divide(members, gate[:, [index]], out=uniform, where=gate[:, [index]] > 0)
        return gate, specialists

    def _check_names(self, specialists: Mapping[str, ArrayLike]) -> None:
        needed = self.taxonomy.specialists
        missing = [group for group in needed if group not in specialists]
        if missing:
            raise UserError(f"no probabilities of the specialist {missing[0]!r}; needed: {', '.join(needed)}")
        unknown = [group for group in specialists if group not in needed]
        if unknown:
            raise UserError(f"unknown specialist {unknown[0]!r}; needed: {', '.join(needed) or 'none'}")

    def _route(self, gate: np.ndarray, routing: str, true_groups: Sequence[str] | ArrayLike | None) -> np.ndarray:
        if routing not in ROUTINGS:
            raise UserError(f"unknown routing {routing!r}; known: {', '.join(ROUTINGS)}")
        if routing == "soft":
            return gate
        chosen = gate.argmax(axis=1) if routing == "hard" else self._group_indices(true_groups, len(gate))
        return np.eye(gate.shape[1])[chosen]

    def _group_indices(self, true_groups: Sequence[str] | ArrayLike | None, rows: int) -> np.ndarray:
        if true_groups is None:
            raise UserError("oracle routing needs true_groups, the true group of each face")
        names = self.taxonomy.group_names
        given = np.asarray(true_groups)
        if given.dtype.kind not in "iu":
            index = {name: i for i, name in enumerate(names)}
            given = np.array([index.get(name, -1) for name in given], dtype=np.int64)
        if given.shape != (rows,) or ((given < 0) | (given >= len(names))).any():
            raise UserError(
                f"true_groups: got shape {given.shape} for {rows} faces, or a group that is none of {', '.join(names)}"
            )
        return given
