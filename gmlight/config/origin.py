"""The data and the code that a run was begun with, which a resumed run is compared with."""

import hashlib
import importlib.util
import json
import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import gmlight
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.value_checks import are_digests, is_text
from gmlight.config.former_names import name_keys
from gmlight.data.digest import DataDigest, explain_changes
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write

_LIBRARIES = ("torch", "torchvision", "lightning")


def refuse_changed_data(folder: RunFolder, data: DataDigest) -> None:
    """Refuses to resume a run on other data than it was begun with.

    Args:
        folder: of the run.
        data: as it is now.

    Raises:
        ConfigError: an image, a label, the split or the normalisation changed.
    """
    before = read_origin(folder).get("data")  # older runs lack it
    if before and (changes := explain_changes(before, data.as_dict())):
        raise ConfigError(
            f"{folder.path}: the data changed since the run began: other {' and '.join(changes)}; restore "
            "them, or start a new run"
        )


def record_origin(
    folder: RunFolder, data: DataDigest, code: Mapping[str, str], notify: Callable[[str], None]
) -> None:
    """Writes what the run is begun with; keeps the earlier versions of the code of a resumed run.

    Args:
        folder: of the run.
        data: as it is now.
        code: versions of the code, from `code_versions`.
        notify: gets a line if the code of a resumed run changed.
    """
    before = read_origin(folder)
    earlier = before.get("earlier_code", [])
    if before and before["code"] != code:
        earlier = [*earlier, before["code"]]
        notify(f"the code changed since the run was last started: {_changed_code(before['code'], code)}")
    content = {"data": data.as_dict(), "code": code, "earlier_code": earlier}
    with atomic_write(folder.origin) as file:
        file.write_text(json.dumps(content, indent=2) + "\n")


def read_origin(folder: RunFolder) -> dict[str, Any]:
    """Reads what a run was begun with; empty for runs of older versions.

    Raises:
        ConfigError: the file is damaged.
    """
    if not folder.origin.exists():
        return {}
    try:
        content = json.loads(folder.origin.read_text())
        found = {key: content[key] for key in ("data", "code", "earlier_code")}
        whole = are_digests(found["data"]) and all(
            map(_are_versions, [found["code"], *found["earlier_code"]])
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ConfigError(f"{folder.origin}: damaged; start a new run, or copy the folder again")
    return found


def _are_versions(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_text, [*value, *value.values()]))


def code_versions(config: Any) -> dict[str, str]:
    """Returns the versions of gmlight, its main libraries, and the modules that a configuration names.

    Args:
        config: plain containers, with `_target_` where a part is named.
    """
    own = sorted({target.split(".")[0] for target in _targets(config)} - {"gmlight", "hydra", *_LIBRARIES})
    versions = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    ours = f"{gmlight.__version__}, {_digest_sources('gmlight')}"
    return {"gmlight": ours, **versions, **{name: _own_version(name) for name in own}}


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from (node[key] for key in name_keys(node))
    values = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    for value in values:
        yield from _targets(value)


def _own_version(package: str) -> str:
    # Distributions have versions; a user's own module has only its files.
    distributions = packages_distributions().get(package)
    return version(distributions[0]) if distributions else _digest_sources(package)


def _digest_sources(package: str) -> str:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return "not found"
    file = Path(spec.origin)
    files = sorted(file.parent.rglob("*.py")) if spec.submodule_search_locations else [file]
    found = hashlib.sha256()
    for path in files:
        found.update(path.read_bytes())
    return f"sources {found.hexdigest()[:12]}"


def _changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(
        f"{name} is {now.get(name, 'absent')}, was {before.get(name, 'absent')}" for name in names
    )
