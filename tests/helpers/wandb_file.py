"""Reads offline W&B runs: the records of a run-<id>.wandb file."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

MAGIC, HEADER, BLOCK, OF_RECORD = b":W&B", 7, 32 * 1024, 7  # LevelDB's log format, after a header
FULL, LAST = 1, 4


@dataclass
class Recorded:
    """One run: its initial name, group, tags and config, its history, summary and exit status."""

    name: str = ""
    group: str = ""
    project: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    def values(self, key: str) -> list[Any]:
        """Returns the values of a metric in order."""
        return [line[key] for line in self.history if key in line]


def read(path: Path) -> Recorded:
    """Reads the run in the file."""
    run = Recorded()
    for content in _records(path.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        match record.WhichOneof("record_type"):
            case "run":
                run.name, run.group = record.run.display_name, record.run.run_group
                run.project = record.run.project
                run.tags = tuple(record.run.tags)
                run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            case "history":
                items = record.history.item
                line = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
                run.history.append(line)
            case "artifact":
                run.artifacts.append(record.artifact)
            case "request" if record.request.HasField("log_artifact"):
                run.artifacts.append(record.request.log_artifact.artifact)
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def _records(content: bytes) -> Iterator[bytes]:
    assert content.startswith(MAGIC)
    at, whole = HEADER, b""
    while at + OF_RECORD <= len(content):
        if BLOCK - at % BLOCK < OF_RECORD:  # the rest of a block is too short for a record
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + OF_RECORD : at + OF_RECORD + length]
        at += OF_RECORD + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""
