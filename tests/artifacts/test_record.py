"""The record of a run: written with the set and the result, and read back."""

import json
from typing import Any

import pytest

from gmlight.artifacts.record import RunRecord, base_name, named_with

CONFIG: dict[str, Any] = {"dataset": {"name": "digits"}, "ipc": 10, "seed": 3}
RECORD = RunRecord(
    command="python -m gmlight.train ipc=10",
    overrides=["ipc=10"],
    choices={"dataset": "digits"},
    config=CONFIG,
    method="mda",
    departures=[],
    scale="reduced with iterations=30",
    architecture="convnet",
    protocol="dsa",
)


def test_a_record_survives_json_beside_other_content() -> None:
    content = json.loads(json.dumps({"schema_version": 3, "sha256": "0"} | RECORD.as_dict()))
    assert RunRecord.from_dict(content) == RECORD
    assert RECORD.headline == "digits, ipc 10, mda, scale reduced with iterations=30, seed 3"


def test_files_of_older_versions() -> None:
    content = RECORD.as_dict()
    for later in ("overrides", "choices", "departures", "protocol"):
        del content[later]
    record = RunRecord.from_dict(content)
    assert (record.choices, record.protocol) == ({}, "plain")
    assert record.departures  # the paper's tables do not show it
    del content["method"]
    with pytest.raises(KeyError, match="method"):
        RunRecord.from_dict(content)


def test_names_with_their_changes() -> None:
    assert named_with("mda", []) == "mda"
    assert base_name(named_with("reduced", ["iterations=30", "real_batch=9"])) == "reduced"
