"""Chooses the classes of a dataset, and checks that the folders of an image folder are classes."""

import difflib
import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gmlight.data.names import has_picture_suffix, name_some, part_of, printable
from gmlight.errors import ConfigError


def choose_classes(
    parts: Sequence[Mapping[str, str]], chosen: Sequence[object] | None, root: Path
) -> list[str]:
    """Returns the names of the classes, in the order of the labels.

    Args:
        parts: for each part, train first, the paths of its class folders by name.
        chosen: the user's choice; None: all classes, in alphabetical order.
        root: the image folder, for messages.

    Raises:
        ConfigError: a class is unknown, or not in both parts, or its name is not UTF-8, or two names differ
            in their Unicode form alone.
    """
    _check_forms([*parts[0], *parts[-1]], root)
    names = choose_names(dict.fromkeys([*parts[0], *parts[-1]]), chosen, root)
    for part, other in (("train", parts[-1]), ("test", parts[0])):
        if only := [name for name in names if name not in other]:
            shown = name_some([repr(printable(name)) for name in only])
            raise ConfigError(
                f"{root}: in the {part} part only: class {shown}; make train and test equal, or choose "
                "classes by dataset.classes=[...]"
            )
    for name in names:
        if name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") != name:
            raise ConfigError(
                f"{root}: the class folder {printable(name)} has a name that is not UTF-8; rename it"
            )
    return names


def choose_names(found: Collection[str], chosen: Sequence[object] | None, place: object) -> list[str]:
    """Returns the chosen class names.

    Args:
        found: the names to choose from.
        chosen: the user's choice, in the order of the labels; None: all.
        place: where they were found, for messages.

    Raises:
        ConfigError: a name is not among them, or a name is given twice, or the choice is no list.
    """
    if chosen is None:
        return list(found)
    if not isinstance(chosen, Sequence):
        raise ConfigError(f"dataset.classes={chosen}: must be a list of names, dataset.classes=[a,b]")
    by_form = {_composed(name): name for name in found}
    typed = [chosen] if isinstance(chosen, str) else list(map(_as_typed, chosen))
    names = [by_form.get(_composed(name), name) for name in typed]
    for name in names:
        if name not in found:
            near = difflib.get_close_matches(name, found, 1, cutoff=0.5)
            mend = f"did you mean {near[0]!r}?" if near else f"there are {name_some(list(found))}"
            raise ConfigError(f"dataset.classes: {place} has no class {name!r}; {mend}")
    if len(set(names)) < max(2, len(names)):
        raise ConfigError(f"dataset.classes=[{name_some(names)}]: must be at least 2 classes, each once")
    return names


def _check_forms(names: Sequence[str], root: Path) -> None:
    # Two systems may write an accented letter as one character or as two, which look the same.
    raw: dict[str, str] = {}
    for name in names:
        other = raw.setdefault(_composed(name), name)
        if other != name:
            raise ConfigError(
                f"{root}: the class folders {other!a} and {name!a} look the same, but their letters are "
                "composed differently; give them one name"
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _as_typed(name: object) -> str:
    # The command line and yaml read some names as numbers or truth values.
    return str(name).lower() if isinstance(name, bool) else str(name)


def check_subfolders(folders: Mapping[str, str], files: Mapping[str, Sequence[str]]) -> None:
    """Checks that no two classes of a part share subfolders, as if those were the classes or parts.

    The same single subfolder in each class, such as `images` of Tiny ImageNet, has no meaning and is allowed.

    Args:
        folders: path of each class folder, by class.
        files: paths of the files in it, by class.

    Raises:
        ConfigError: two classes share a subfolder, and one of them has others.
    """
    owners: dict[str, list[str]] = {}  # classes by the name of their subfolder
    several = set()  # classes with more than one subfolder
    for name, folder in folders.items():
        depth = len(folder.split(os.sep))
        pictures = [path.split(os.sep)[depth:] for path in files.get(name, ()) if has_picture_suffix(path)]
        inner = sorted({part_of(each[-2]) or each[-2] for each in pictures if len(each) > 1})
        for subfolder in inner:
            owners.setdefault(subfolder, []).append(name)
        if len(inner) > 1:
            several.add(name)
    for subfolder, classes in owners.items():
        if len(classes) > 1 and several & set(classes):
            a, b = (printable(folders[name]) for name in classes[:2])
            raise ConfigError(
                f"{a} and {b} both hold a folder {subfolder!r}, beside others: if these are the classes or "
                "parts, put them one level up; if not, put the images directly into the class folders"
            )
