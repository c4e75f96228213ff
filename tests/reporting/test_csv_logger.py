"""metrics.csv as the logger leaves it, whatever happened to the process before."""

import csv
from pathlib import Path

import lightning
import pytest
import torch

from gmlight.artifacts import metrics_csv
from gmlight.artifacts.metrics_csv import drop_rows_from, read_metrics, read_table
from gmlight.reporting.csv_logger import MetricsCSVLogger


def test_rows_in_the_order_in_which_they_were_logged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSVLogger(path)
    logger.log_metrics({"loss": torch.tensor(0.5), "zeta": 3}, step=7)
    assert path.read_bytes() == b"loss,step,zeta\r\n0.5,7,3\r\n"  # on disk at once
    logger.log_metrics({"loss": 0.25}, step=8)
    logger.log_metrics({"loss": 0.125})
    logger.log_metrics({"accuracy/mean": 90.0}, step=9)
    assert path.read_bytes() == (
        b"accuracy/mean,loss,step,zeta\r\n,0.5,7,3\r\n,0.25,8,\r\n,0.125,8,\r\n90.0,,9,\r\n"
    )


def test_a_resumed_run_continues_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for step in (0, 1):
        MetricsCSVLogger(path).log_metrics({"loss": 1.0 + step}, step)
    with path.open("a") as file:
        file.write("3.0,2")  # killed while it wrote: looks like a row, and has no end
    assert [row["step"] for row in read_metrics(path)] == ["0", "1"]
    MetricsCSVLogger(path).log_metrics({"loss": 4.0}, 2)
    assert path.read_bytes() == b"loss,step\r\n1.0,0\r\n2.0,1\r\n4.0,2\r\n"


def test_a_file_that_was_removed_gets_its_header_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSVLogger(path)
    logger.log_metrics({"loss": 1.0}, 0)
    path.unlink()
    logger.log_metrics({"loss": 2.0}, 1)
    assert path.read_bytes() == b"loss,step\r\n2.0,1\r\n"


def test_a_kill_while_the_columns_change_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSVLogger(path)
    logger.log_metrics({"loss": 1.0}, 0)

    class Cut(csv.DictWriter):
        def writerows(self, rows: object) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(metrics_csv.csv, "DictWriter", Cut)
        with pytest.raises(KeyboardInterrupt):
            logger.log_metrics({"accuracy/mean": 50.0}, 1)
    assert read_table(path) == (["loss", "step"], [{"loss": "1.0", "step": "0"}])
    MetricsCSVLogger(path).log_metrics({"loss": 2.0}, 1)
    assert [row["loss"] for row in read_metrics(path)] == ["1.0", "2.0"]


def test_rows_that_are_logged_again_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    drop_rows_from(path, 0, keep_evaluation=True)  # there is no file
    logger = MetricsCSVLogger(path)
    for step in (0, 1, 2):
        logger.log_metrics({"loss": float(step)}, step)
    logger.log_metrics({"accuracy/mean": 50.0}, 2)  # evaluated after update 1
    drop_rows_from(path, 2, keep_evaluation=True)
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [
        ("0", "0.0"),
        ("1", "1.0"),
        ("2", ""),
    ]
    drop_rows_from(path, 2, keep_evaluation=False)
    assert [row["step"] for row in read_metrics(path)] == ["0", "1"]


def test_lightning_finds_the_run_folder(tmp_path: Path) -> None:
    trainer = lightning.Trainer(
        logger=MetricsCSVLogger(tmp_path / "metrics.csv"),
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    assert trainer.log_dir == str(tmp_path)
    assert not any(tmp_path.iterdir())  # nothing was logged
