"""metrics.csv is read back row by row; damaged rows cost no others."""

from pathlib import Path

import pytest

from gmlight.artifacts.metrics_csv import append_row, drop_rows_from, read_metrics, read_table, write_table

COLUMNS = ["accuracy/convnet, width=8/mean", "loss", "step"]


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read_table(path) == ([], [])
    write_table(path, COLUMNS, [{"loss": 1.5, "step": 0}])
    append_row(path, COLUMNS, {"accuracy/convnet, width=8/mean": 91.25, "step": 1})
    assert read_table(path)[0] == COLUMNS
    assert [list(row.values()) for row in read_metrics(path)] == [["", "1.5", "0"], ["91.25", "", "1"]]


@pytest.mark.parametrize(
    "line",
    [
        "", "1", "1,2", "1,2,3,4", "1,=cmd,3", "1,2,x", "1,2,-1", '"1,2,3', "1,\x1b[31m,3",
        "1,2," + "9" * 5000, "1," + "2" * 200_000 + ",x", "1,\0,3", "\udcff,2,3", "1,2,3.5",
    ],
    ids=range(14),
)  # fmt: skip
def test_damaged_rows_are_dropped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.csv"
    write_table(path, COLUMNS, [{"loss": 1.5, "step": 0}])
    with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{line}\n")
    append_row(path, COLUMNS, {"loss": 2.5, "step": 7})
    assert [(row["loss"], row["step"]) for row in read_metrics(path)] == [("1.5", "0"), ("2.5", "7")]
    drop_rows_from(path, 5, keep_evaluation=False)
    assert [row["step"] for row in read_metrics(path)] == ["0"]


def test_a_truncated_last_row_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_table(path, COLUMNS, [{"loss": 1.5, "step": 0}, {"loss": 2.5, "step": 1}])
    path.write_bytes(path.read_bytes()[:-4])
    assert [row["step"] for row in read_metrics(path)] == ["0"]
    path.write_bytes(b"\xff\xfe\0garbage")
    assert read_metrics(path) == []
