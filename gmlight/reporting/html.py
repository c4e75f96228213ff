"""Renders the page templates."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

import gmlight

_environment = Environment(
    loader=PackageLoader("gmlight.reporting"),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def render(name: str, **content: Any) -> str:
    """The template of that name with its content."""
    return _environment.get_template(name).render(**content)


def samples(folder: Path) -> list[Path]:
    # By iteration; whatever else may lie there.
    return sorted((folder / "samples").glob("[0-9]*.png"), key=lambda path: int(path.stem))


def written() -> dict[str, str]:
    return {"version": gmlight.__version__, "written": f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}"}


def data_uri(path: Path) -> str:
    """The PNG in a form that is part of a page."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
