"""Errors of the system become one line that names what can be done."""

import errno
from pathlib import Path

import pytest

from gmlight.config.error_lines import explain_error


def test_a_folder_that_cannot_be_made() -> None:
    """In /proc, the system says that there is no such file."""
    with pytest.raises(FileNotFoundError) as error:
        Path("/proc/mine").mkdir()
    assert "cannot write /proc/mine: No such file or directory; choose another folder" in str(
        explain_error(error.value)
    )


def test_a_file_that_is_not_there_is_no_folder_that_cannot_be_made() -> None:
    with pytest.raises(FileNotFoundError) as error:
        Path("/proc/mine").read_text()
    assert explain_error(error.value) is None


def test_a_full_disk_may_not_say_which_file() -> None:
    line = explain_error(OSError(errno.ENOSPC, "No space left on device"))
    assert line is not None
    assert line.startswith("cannot write a file: No space left on device")
