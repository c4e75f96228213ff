"""A choice's name with what was changed in it, as records and tables have it."""

_WITH = " with "


def named_with(name: str, changes: list[str]) -> str:
    """`reduced` and `iterations=30` -> `reduced with iterations=30`."""
    return f"{name}{_WITH}{', '.join(changes)}" if changes else name


def base_name(label: str) -> str:
    """`reduced with iterations=30` -> `reduced`."""
    return label.partition(_WITH)[0]
