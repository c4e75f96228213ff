"""Renders HTML pages from templates; each page is one file that works offline."""

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


def render(template: str, **content: Any) -> str:
    """Renders a template with its content, and with the version and the time in the footer.

    Args:
        template: file name in templates/.
        content: values of the template's variables.
    """
    now = datetime.now().astimezone()
    footer = {"version": gmlight.__version__, "written": f"{now:%Y-%m-%d %H:%M:%S %Z}"}
    return _environment.get_template(template).render(**content, **footer)


def data_uri(path: Path) -> str:
    """Encodes a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
