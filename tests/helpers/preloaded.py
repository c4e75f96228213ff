"""Imports whatever a command may import: for the process that other processes are forked from."""

import importlib
import pkgutil

import lightning.pytorch.loggers
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import sklearn.datasets
import torch.distributed.run
import torch.utils.flop_counter
import torchvision
import wandb

import gmlight

__all__ = ["lightning", "matplotlib", "sklearn", "torch", "torchvision", "wandb"]

for _module in pkgutil.walk_packages(gmlight.__path__, "gmlight."):
    importlib.import_module(_module.name)
