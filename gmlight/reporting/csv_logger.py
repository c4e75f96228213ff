"""A Lightning logger that writes metrics.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from gmlight.artifacts.metrics_csv import append_row, read_table, write_table


class MetricsCSVLogger(Logger):
    """Appends metrics to a CSV file; `log_metrics` returns after the row is written.

    A resumed run continues the file: the rows of an earlier process are kept, except a truncated last row.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._columns: list[str] | None = None  # of the file; None before this process has written to it
        self._last_step = 0

    @property
    def name(self) -> str:
        """Empty: the file lies in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Empty: there is one file per run folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self._path.parent)

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return self.save_dir

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Tensor | float], step: int | None = None) -> None:
        """Writes one row.

        Args:
            metrics: values by name; new names become new columns.
            step: value of the column `step`; None: that of the previous row.
        """
        self._last_step = self._last_step if step is None else step
        row: dict[str, Any] = {
            name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()
        }
        row["step"] = self._last_step
        if self._columns is not None and row.keys() <= set(self._columns) and self._path.exists():
            append_row(self._path, self._columns, row)
            return
        columns, rows = read_table(self._path)
        self._columns = sorted({*columns, *row})
        write_table(self._path, self._columns, [*rows, row])

    def log_hyperparams(self, *args: Any, **keywords: Any) -> None:
        """Does nothing: the run folder has the whole configuration."""
