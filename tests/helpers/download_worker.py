"""One rank of a test of downloads: `torchrun ... tests/helpers/download_worker.py <folder>`."""

import functools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.strategies import DDPStrategy
from PIL import Image
from torch.utils.data import Dataset

from gmlight.builders.data import load_data
from gmlight.data.datamodule import BatchSizes, CondensationData
from gmlight.data.datasets import torchvision_splits
from gmlight.data.source import DataSource
from gmlight.errors import ConfigError
from gmlight.runtime.distributed import ranks

FOLDER, RANK = Path(sys.argv[1]), int(os.environ["RANK"])


class SlowDownload(Dataset):
    """Six grey pictures, whose download ends only after the other rank has begun to load."""

    def __init__(self, root: str, download: bool, train: bool = True) -> None:
        complete = Path(root) / "complete"
        if not complete.exists():
            if not download:
                raise RuntimeError("Dataset not found")
            with (Path(root) / "downloads.txt").open("a") as file:
                file.write(f"{RANK}\n")
            if "broken" in root:
                raise OSError("no route to host")
            while not (Path(root) / "rank1").exists():
                time.sleep(0.01)
            complete.touch()

    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.fromarray(np.full((2, 2), 40 * i, dtype=np.uint8)), i % 3


class OneParameter(lightning.LightningModule):
    """Does one step."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Any) -> torch.Tensor:
        return self.parameter.sum() + batch.images[:].sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def made_in(name: str) -> CondensationData:
    root = FOLDER / name
    if RANK == 1:
        (root / "rank1").touch()
    load = functools.partial(
        torchvision_splits,
        dataset=SlowDownload,
        train={"train": True},
        test={"train": False},
        files="complete",
    )
    source = DataSource(functools.partial(load, str(root)), list("abc"), (1, 2, 2))
    return CondensationData(source, BatchSizes(real=2))


def main() -> None:
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo"), max_steps=1,
        max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    found: dict[str, Any] = {"before fit": len(load_data(made_in("before"), trainer).train)}
    data = made_in("hooks")
    trainer.fit(OneParameter(), datamodule=data)  # by Lightning's own hooks
    found["hooks"] = len(data.train)
    try:
        load_data(made_in("broken"), trainer)
    except ConfigError as error:
        found["error"] = str(error)
    (FOLDER / f"{RANK}.json").write_text(json.dumps(found))
    ranks.shut_down()


if __name__ == "__main__":
    main()
