"""Yaml from a file that may be a stranger's: how long, how deep, and what it may hold."""

import pytest

from gmlight.config.stored_words import _DEEPEST_YAML, _LONGEST_YAML, read_plain_yaml


def nested(depth: int) -> str:
    return "a: " + "[" * depth + "]" * depth


def test_keys_with_values_are_read() -> None:
    assert read_plain_yaml("a: 1\nb: {c: [x, null]}\n") == {"a": 1, "b": {"c": ["x", None]}}


def test_the_longest_and_the_deepest_are_read() -> None:
    assert (_LONGEST_YAML, _DEEPEST_YAML) == (2**20, 50)
    longest = "a: " + "x" * (_LONGEST_YAML - 3)
    assert len(read_plain_yaml(longest)["a"]) == _LONGEST_YAML - 3
    assert read_plain_yaml(nested(_DEEPEST_YAML - 1)).keys() == {"a"}


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * (_LONGEST_YAML - 2),
        nested(_DEEPEST_YAML),
        "a: &x [1]\nb: *x",
        "a: &x [1]\n" + "# long\n" * (_LONGEST_YAML // 7),
        "- 1",
        "x",
        "",
    ],
    ids=["long", "deep", "alias", "long comment", "list", "word", "nothing"],
)
def test_other_yaml_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"it is too long or too deep|it must be keys with values"):
        read_plain_yaml(text)
