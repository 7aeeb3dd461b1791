"""Taxonomy: emotions, groups and exclusions; every label <-> index mapping of the whole program."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import read_written
from fer_hierarchy.hierarchy.paths import is_file

# FER-2013's order (Goodfellow et al., 2013); contempt only where a data set has it.
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")

# Words that data sets use for the same emotions.
_SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "joyful": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "surprize": "surprise",
    "neutrality": "neutral",
    "contemptuous": "contempt",
}

# Columns of tables of predictions, in which the gate is one as well; and file names that Windows keeps for itself.
_RESERVED = """
    row image file frame time track faces face left top width height score run emotion probability route entropy error
    yaw pitch roll right_eye left_eye mouth reason points coverage answer level set any
    true predicted stage con prn aux nul com1 com2 com3 com4 lpt1 lpt2 lpt3 lpt4
"""
_LONGEST_NAME = 60  # bytes
FLAT = "flat"
TRUNK = "trunk"  # the network whose heads are all stages of a run
POOLED = "pooled"  # what the prediction of several runs together is called


def canonical_emotion(word: str) -> str:
    """Map a data set's or user's word to the canonical emotion, ignoring case and surrounding blanks.

    Raises:
        UserError: The word is no emotion that we know.
    """
    key = word.strip().lower()
    key = _SYNONYMS.get(key, key)
    if key not in EMOTIONS:
        raise UserError(f"unknown emotion {word!r}; known: {', '.join(EMOTIONS)}")
    return key


def is_emotion(word: str) -> bool:
    """Whether `word` names an emotion that we know."""
    key = word.strip().lower()
    return _SYNONYMS.get(key, key) in EMOTIONS


def class_order(name: str) -> tuple[int, str]:
    """A key that sorts classes: emotions in their order, and behind them a user's own by name."""
    return (EMOTIONS.index(name) if name in EMOTIONS else len(EMOTIONS)), name


def check_name(name: str, where: str, *, reserved: str = _RESERVED) -> None:
    """Refuse a name that can be no folder on every system, or that tables of predictions call something else.

    Raises:
        UserError: With what is right.
    """
    plain = any(map(str.isalnum, name)) and all(
        letter.isalnum() or letter in "-_" or unicodedata.category(letter).startswith("M") for letter in name
    )
    if not plain or len(name.encode()) > _LONGEST_NAME or name.startswith("-"):
        raise UserError(
            f"{where}: {name[:30]!r} is no usable name; use up to {_LONGEST_NAME} letters, digits, - and _, "
            "no - in front"
        )
    if name.lower() in reserved.split():
        raise UserError(f"{where}: {name!r} means something else in tables or as a file; rename it")


def check_class_name(name: str, where: str) -> None:
    """Refuse a new class whose name cannot be used, or is an emotion's.

    Raises:
        UserError: With what is right.
    """
    if is_emotion(name):
        raise UserError(f'{where}: {name!r} is an emotion already; write "{canonical_emotion(name)}"')
    check_name(name, where, reserved=f"{_RESERVED} uncertain all")


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """A two-level grouping of emotions: a gate chooses the group, a specialist the emotion within it.

    Attributes:
        name: What reports call the grouping.
        gate: Name of the first stage, what the groups are about (`valence`, `arousal`).
        groups: (group, emotions) pairs in class order; at least two groups of at least one emotion.
        own: Classes among the emotions that are a user's own; their place is behind the emotions that all know.

    Examples:
        >>> from fer_hierarchy import Taxonomy
        >>> groups = (("toward", ("happy", "angry")), ("away", ("fear", "sad")))
        >>> Taxonomy(name="approach", gate="approach", groups=groups).specialists
        ('toward', 'away')
    """

    name: str
    gate: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    own: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.group_names
        if len(names) < 2:
            raise UserError(f"taxonomy {self.name!r}: got {len(names)} group(s) {list(names)}; at least two are needed")
        reserved = [n for n in names if n in (FLAT, self.gate)]
        if len(set(names)) != len(names) or reserved:
            raise UserError(
                f"taxonomy {self.name!r}: group names {list(names)} must differ from each other, "
                f"from {FLAT!r} and from {self.gate!r}"
            )
        for word in (self.gate, *names):
            check_name(word, f"taxonomy {self.name!r}")
        if twice := [
            word for word in names if [other.lower() for other in (self.gate, *names)].count(word.lower()) > 1
        ]:
            raise UserError(f"taxonomy {self.name!r}: {twice[0]!r} differs from another name in capitals alone")
        seen: dict[str, str] = {}
        for group, emotions in self.groups:
            if not emotions:
                raise UserError(f"taxonomy {self.name!r}: group {group!r} has no emotion; each needs one at least")
            for emotion in emotions:
                if emotion not in self.own and canonical_emotion(emotion) != emotion:
                    raise UserError(f"taxonomy {self.name!r}: write {emotion!r} as {canonical_emotion(emotion)!r}")
                if emotion in seen:
                    raise UserError(
                        f"taxonomy {self.name!r}: {emotion!r} stands in {seen[emotion]!r} and in {group!r}; keep one"
                    )
                seen[emotion] = group
        for name in self.own:
            check_class_name(name, f"taxonomy {self.name!r}")
            if name not in seen:
                raise UserError(f"taxonomy {self.name!r}: {name!r} stands in no group; add it to one")

    @property
    def group_names(self) -> tuple[str, ...]:
        """Groups in the gate's class order."""
        return tuple(name for name, _ in self.groups)

    @property
    def emotions(self) -> tuple[str, ...]:
        """All emotions in canonical order: the class order of flat models and of every composed prediction."""
        grouped = {emotion for _, members in self.groups for emotion in members}
        return tuple(sorted(grouped, key=class_order))

    def members(self, group: str) -> tuple[str, ...]:
        """Emotions of one group in canonical order: the class order of its specialist."""
        return tuple(sorted(dict(self.groups)[group], key=class_order))

    def group_of(self, emotion: str) -> str:
        """The group that holds `emotion`."""
        return next(group for group, members in self.groups if emotion in members)

    @property
    def specialists(self) -> tuple[str, ...]:
        """Groups that need a specialist: those of more than one emotion."""
        return tuple(group for group, members in self.groups if len(members) > 1)

    def stages(self, mode: str) -> tuple[str, ...]:
        """Names of the stages that a run of `mode` ("hierarchical" or "flat") trains, in training order."""
        return (FLAT,) if mode == FLAT else (self.gate, *self.specialists)

    def stage_classes(self, stage: str) -> tuple[str, ...]:
        """Class order of a stage: group names for the gate, emotions for a specialist or the flat stage."""
        if stage == self.gate:
            return self.group_names
        return self.emotions if stage == FLAT else self.members(stage)

    def stage_labels(self, stage: str, emotions: Iterable[str]) -> list[int]:
        """Class index of each emotion in `stage`, -1 where the stage does not know it."""
        classes = self.stage_classes(stage)
        if stage == self.gate:
            index = {e: classes.index(group) for group, members in self.groups for e in members}
        else:
            index = {e: i for i, e in enumerate(classes)}
        return [index.get(e, -1) for e in emotions]

    @property
    def group_index(self) -> tuple[int, ...]:
        """For each emotion in class order, the index of its group."""
        return tuple(self.stage_labels(self.gate, self.emotions))

    def exclude(self, emotions: Iterable[str]) -> "Taxonomy":
        """The same taxonomy without `emotions`.

        Raises:
            UserError: An emotion is unknown or not in the taxonomy, or a group would be left empty.
        """
        dropped = [e if e in self.own else canonical_emotion(e) for e in emotions]
        absent = [e for e in dropped if e not in self.emotions]
        if absent:
            raise UserError(f"cannot exclude {absent[0]!r}: taxonomy {self.name!r} holds {', '.join(self.emotions)}")
        if len(self.emotions) - len(set(dropped)) < 2:
            raise UserError(f"excluding {', '.join(dropped)} leaves fewer than two emotions; keep at least two")
        return self._without(dropped, f"excluding {', '.join(dropped)}")

    def restrict(self, present: Iterable[str]) -> "Taxonomy":
        """The same taxonomy with only the emotions that a data set holds.

        Raises:
            UserError: The data holds an emotion that the taxonomy does not, or a group would be left empty.
        """
        held = set(present)
        unknown = sorted(held - set(self.emotions), key=class_order)
        if unknown:
            raise UserError(
                f"the data holds {', '.join(unknown)}, which taxonomy {self.name!r} has in no group; "
                f"add it to a group or use --exclude {','.join(unknown)}"
            )
        return self._without([e for e in self.emotions if e not in held], "the data")

    def _without(self, dropped: Iterable[str], cause: str) -> "Taxonomy":
        gone = set(dropped)
        groups = tuple((name, tuple(e for e in members if e not in gone)) for name, members in self.groups)
        empty = [name for name, members in groups if not members]
        if empty:
            raise UserError(
                f"{cause} leaves group {empty[0]!r} of taxonomy {self.name!r} without an emotion; "
                f"keep at least one in each group"
            )
        own = tuple(name for name in self.own if name not in gone)
        return Taxonomy(name=self.name, gate=self.gate, groups=groups, own=own)

    def to_dict(self) -> dict:
        """The JSON form that `load_taxonomy` reads."""
        groups = {name: list(members) for name, members in self.groups}
        own = {"own": list(self.own)} if self.own else {}
        return {"name": self.name, "gate": self.gate, "groups": groups, **own}

    @classmethod
    def from_dict(cls, record: object, *, name: str) -> "Taxonomy":
        """Read `{"groups": {group: [emotion, ...]}, "name": ..., "gate": ...}`; name and gate may be left out.

        Args:
            record: The parsed JSON.
            name: What to call the taxonomy where the record has no name of its own.

        Raises:
            UserError: The record has another shape or breaks a rule of the class.
        """
        shape = 'a taxonomy is {"groups": {"group": ["emotion", ...], ...}, "name": "...", "gate": "..."}'
        if not isinstance(record, dict) or not isinstance(groups := record.get("groups"), dict):
            raise UserError(f"taxonomy {name!r}: {shape}")
        if not all(isinstance(members, list) for members in groups.values()):
            raise UserError(f"taxonomy {name!r}: {shape}")
        own = record.get("own", [])
        if not isinstance(own, list) or not all(isinstance(word, str) for word in own):
            raise UserError(f"taxonomy {name!r}: own lists the names of classes, got {own!r}")
        unknown = set(record) - {"groups", "name", "gate", "own"}
        if unknown:
            raise UserError(f"taxonomy {name!r}: unknown key {sorted(unknown)[0]!r}; {shape}")
        try:
            known = {
                g: [e if e in own else canonical_emotion(str(e)) for e in members] for g, members in groups.items()
            }
        except UserError as error:
            raise UserError(f"taxonomy {name!r}: {error}") from error
        pairs, gate = (
            tuple((group, tuple(members)) for group, members in known.items()),
            str(record.get("gate", "gate")),
        )
        return cls(name=str(record.get("name", name)), gate=gate, groups=pairs, own=tuple(own))


TAXONOMIES = {
    # Pleasant or unmarked faces against unpleasant ones; neutral counts as positive unless its name has it elsewhere.
    "valence": Taxonomy(
        name="valence",
        gate="valence",
        groups=(
            ("positive", ("happy", "surprise", "neutral")),
            ("negative", ("angry", "disgust", "fear", "sad", "contempt")),
        ),
    ),
    "valence-neutral-negative": Taxonomy(
        name="valence-neutral-negative",
        gate="valence",
        groups=(
            ("positive", ("happy", "surprise")),
            ("negative", ("angry", "disgust", "fear", "sad", "contempt", "neutral")),
        ),
    ),
    "valence-neutral-apart": Taxonomy(
        name="valence-neutral-apart",
        gate="valence",
        groups=(
            ("positive", ("happy", "surprise")),
            ("neutral", ("neutral",)),
            ("negative", ("angry", "disgust", "fear", "sad", "contempt")),
        ),
    ),
    # The halves of the activation axis in Russell, "A circumplex model of affect", JPSP 39(6), 1980.
    "arousal": Taxonomy(
        name="arousal",
        gate="arousal",
        groups=(
            ("high", ("angry", "disgust", "fear", "happy", "surprise", "contempt")),
            ("low", ("sad", "neutral")),
        ),
    ),
}


def load_taxonomy(name_or_path: str) -> Taxonomy:
    """A built-in taxonomy by name, or one from a JSON file.

    Raises:
        UserError: Neither a known name nor a readable JSON file, or the file breaks a rule.
    """
    if name_or_path in TAXONOMIES:
        return TAXONOMIES[name_or_path]
    path = Path(name_or_path)
    known = ", ".join(TAXONOMIES)
    if not is_file(path):
        raise UserError(f"taxonomy {name_or_path!r} is neither a known name ({known}) nor a JSON file")
    return Taxonomy.from_dict(read_written(path, f"taxonomy file {name_or_path}"), name=path.stem)
