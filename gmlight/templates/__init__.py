"""Pages and cards, filled in by Jinja; .html is escaped, .md is not."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_environment = Environment(
    loader=PackageLoader("gmlight"),
    autoescape=select_autoescape(["html"]),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def render(name: str, **content: Any) -> str:
    """The template of that name with its content."""
    return _environment.get_template(name).render(**content)
