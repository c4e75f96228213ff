"""Writes docs/reference.md from conf/: `python docs/make_reference.py`; a test holds it up to date."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

DOCS = Path(__file__).parent
CONF = DOCS.parent / "conf"
COMMANDS = (
    "train", "evaluate", "analyze", "export", "convert", "merge", "proxy", "continual", "benchmark",
)  # fmt: skip
# What is of interest to the program alone.
HIDDEN = ("_target_", "_partial_", "defaults", "hydra", "load", "plugins", "strategy", "files")
HEAD = """# Reference

Every command, choice and key, generated from [conf/](../conf) by `python docs/make_reference.py`. `python -m
gmlight.<command> --help` prints the same; a choice is `group=option`, a key `key=value`, dots select inside.
"""


def main() -> None:
    (DOCS / "reference.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """The page."""
    parts = [HEAD, *map(command, COMMANDS), "## Choices\n", *map(group, groups())]
    return "\n".join(parts)


def groups() -> list[str]:
    """In the order of train.yaml, then those of other commands."""
    defaults = [
        key for entry in _load(CONF / "train.yaml")["defaults"] if isinstance(entry, dict) for key in entry
    ]
    there = [path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"]
    return sorted(there, key=lambda name: (defaults.index(name) if name in defaults else len(defaults), name))


def command(name: str) -> str:
    """Its keys as they stand in its file, with what is said of them there."""
    text = (CONF / f"{name}.yaml").read_text()
    keys = re.search(r"^(?!defaults|hydra|#)\w+:.*?(?=^hydra:|\Z)", text, re.MULTILINE | re.DOTALL)
    assert keys is not None
    about = yaml.safe_load(text)["hydra"]["help"]["template"]
    first = about.split("\n\n")[0].replace("\n", " ")
    return f"## gmlight.{name}\n\n{first}\n\n```yaml\n{keys[0].rstrip()}\n```\n"


def group(name: str) -> str:
    """A table of its options."""
    rows = [
        f"| `{path.stem}` | {said(path)} | {', '.join(keys(path))} |"
        for path in sorted((CONF / name).glob("*.yaml"))
    ]
    return "\n".join([f"### {name}\n", "| option | what it is | keys |", "|---|---|---|", *rows, ""])


def said(path: Path) -> str:
    """The comment at the head of an option, without its command."""
    head = re.match(r"(#.*\n)*", path.read_text())
    assert head is not None
    lines = [
        line.lstrip("# ")
        for line in head[0].splitlines()
        if not re.match(r"# (@package|python -m|srun )", line)
    ]
    return _cell(" ".join(lines))


def keys(path: Path) -> Iterator[str]:
    """`key: value` of what may be set in an option."""
    content = _load(path) or {}
    if path.read_text().startswith("# @package"):  # it says where it puts its keys
        content = content.get(path.parent.name, content)
    if path.parent.name == "logger":
        content = content.get(path.stem, {})
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key not in HIDDEN and "${" not in str(value) and len(str(value)) <= 60:
            yield f"`{_cell(str(key))}: {_cell(_shown(value))}`"


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _load(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


if __name__ == "__main__":
    main()
