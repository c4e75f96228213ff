"""How names are shown in one line of output."""

import pytest

from gmlight.data.names import is_hidden, name_some, name_values


@pytest.mark.parametrize("name", [".git", "@eaDir", "__MACOSX", "Thumbs.db", "THUMBS.DB", "Icon\r"])
def test_entries_of_the_system(name: str) -> None:
    assert is_hidden(name)
    assert not is_hidden(f"a{name}")


def test_long_lists_and_long_names_are_cut() -> None:
    assert name_some(["a", "b"]) == "a, b"
    assert name_some(list("abcdefg")) == "a, b, c, d, e, ... (7)"
    assert name_some(["x" * 10**6, "b"]) == f"{'x' * 80}..., b"


def test_values_of_a_list() -> None:
    assert name_values([1, 2.5]) == "[1, 2.5]"
    assert name_values(["a, b", "c"]) == "['a, b', 'c']"
    assert name_values(list(range(100))) == "[0, 1, 2, 3, 4, ... (100)]"
    assert name_values((3, 8, 8)) == "(3, 8, 8)"
