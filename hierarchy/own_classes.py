"""Classes in a user's own words: a JSON file that maps the names of class folders to emotions, or to new classes."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.json_text import read_written
from fer_hierarchy.hierarchy.paths import is_file
from fer_hierarchy.hierarchy.taxonomy import Taxonomy, canonical_emotion, check_class_name, is_emotion

_SHAPE = 'write {"Freude": "happy", "bored": {"group": "negative"}, "unclear": null}'


@dataclass(frozen=True, kw_only=True)
class OwnClasses:
    """What the words of a data set mean.

    Attributes:
        words: Word (as `_key` spells it) -> emotion or new class; None for what is left out.
        groups: New class -> its group in the taxonomy, or None where the taxonomy itself names it.
    """

    words: Mapping[str, str | None] = field(default_factory=dict)
    groups: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, record: Any, *, where: str = "--classes") -> "OwnClasses":
        """Read `{word: emotion | new class | {"group": group, "class": name} | null}`.

        Raises:
            UserError: Another shape, a word twice, or a class that is none.
        """
        if not isinstance(record, Mapping) or not record:
            raise UserError(f"{where}: expected words and what they mean; {_SHAPE}")
        groups: dict[str, str | None] = {}
        for word, meaning in record.items():
            if isinstance(meaning, Mapping):
                name = cls._new_class(word, meaning, where)
                if groups.setdefault(name, meaning.get("group")) != meaning.get("group"):
                    raise UserError(f"{where}: class {name!r} stands in two groups; keep one")
        names = {_key(name): name for name in groups}
        if twin := next((name for name in groups if names[_key(name)] != name), None):
            raise UserError(
                f"{where}: the classes {twin!r} and {names[_key(twin)]!r} differ in capitals alone; keep one"
            )
        words: dict[str, str | None] = {}
        for word, meaning in record.items():
            if _key(word) in words:
                raise UserError(f"{where}: {word!r} stands twice; capitals make no difference")
            words[_key(word)] = cls._meaning(word, meaning, names, where)
        if not any(words.values()):
            raise UserError(f"{where}: every word is left out; keep some")
        return cls(words={**names, **words}, groups=groups)

    @staticmethod
    def _new_class(word: str, meaning: Mapping[str, Any], where: str) -> str:
        if set(meaning) - {"group", "class"} or not all(isinstance(value, str) for value in meaning.values()):
            raise UserError(f"{where}: {word!r}: a new class has a group, and perhaps a name (class); {_SHAPE}")
        name = unicodedata.normalize("NFC", meaning.get("class", word)).strip()
        check_class_name(name, where)
        return name

    @staticmethod
    def _meaning(word: str, meaning: Any, names: Mapping[str, str], where: str) -> str | None:
        if meaning is None:
            return None
        if isinstance(meaning, Mapping):
            return names[_key(meaning.get("class", word))]
        if isinstance(meaning, str) and _key(meaning) in names:
            return names[_key(meaning)]
        if isinstance(meaning, str) and is_emotion(meaning):
            return canonical_emotion(meaning)
        raise UserError(f"{where}: {word!r} means {meaning!r}, which is neither an emotion nor a new class; {_SHAPE}")

    def of(self, word: str) -> str | None:
        """The class of a word, "" where it is left out, None where it is not listed."""
        return (self.words[_key(word)] or "") if _key(word) in self.words else None

    def with_names(self, names: Iterable[str]) -> "OwnClasses":
        """The same, with classes that a taxonomy has in its groups already."""
        words = {_key(name): name for name in names}
        return OwnClasses(words={**words, **self.words}, groups={**dict.fromkeys(words.values()), **self.groups})

    def added_to(self, taxonomy: Taxonomy) -> Taxonomy:
        """The taxonomy with the new classes in their groups.

        One that has own classes places them itself: what it has not is for the data to hold or not.

        Raises:
            UserError: A class names no group of the taxonomy.
        """
        groups = {name: list(members) for name, members in taxonomy.groups}
        for name, group in self.groups.items():
            if name in taxonomy.own:
                continue
            if group is None or group not in groups:
                if taxonomy.own:
                    continue
                found = f"stands in group {group!r}" if group else "has no group"
                raise UserError(f"--classes: {name!r} {found}; taxonomy {taxonomy.name!r} has {', '.join(groups)}")
            groups[group].append(name)
        pairs = tuple((name, tuple(members)) for name, members in groups.items())
        placed = {name for _, members in pairs for name in members}
        own = tuple(name for name in dict.fromkeys((*taxonomy.own, *self.groups)) if name in placed)
        return Taxonomy(name=taxonomy.name, gate=taxonomy.gate, groups=pairs, own=own)


NONE = OwnClasses()
_current: ContextVar[OwnClasses] = ContextVar("own_classes", default=NONE)


def read_own_classes(value: str | Mapping | None) -> OwnClasses:
    """The classes of a file, or of what stands in a configuration.

    Raises:
        UserError: There is no such file, or it breaks a rule.
    """
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        return OwnClasses.from_dict(value)
    if not is_file(value):
        raise UserError(f"--classes {value}: no such file; expected JSON: {_SHAPE}")
    return OwnClasses.from_dict(read_written(Path(value), f"--classes {value}"), where=f"--classes {value}")


@contextmanager
def understood(classes: OwnClasses) -> Iterator[None]:
    """Let sources of data understand these words while the block runs."""
    token = _current.set(classes)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> OwnClasses:
    """The words that are understood now."""
    return _current.get()


def meaning(word: str, usual: str | None) -> str | None:
    """What a word of a data set means to the user, "" if it is left out; else what it usually means."""
    own = current().of(word)
    return usual if own is None else own


def _key(word: str) -> str:
    """A word as it is compared: capitals, blanks around it and the spelling of accents make no difference."""
    return unicodedata.normalize("NFC", word).strip().casefold()
