"""Process-wide settings: allocator, TF32, Lightning's messages."""

import logging
import warnings

from omegaconf import DictConfig


def prepare_process(config: DictConfig) -> None:
    """Sets the process's allocator, disables TF32, and hides irrelevant messages of Lightning.

    Call it once, before large tensors are allocated.
    """
    import torch  # slow, so imported after the configuration is checked

    from gmlight.runtime.memory import keep_large_blocks

    if config.speed.allocator == "auto":
        keep_large_blocks()
    _quieten_lightning()
    # By default, cuDNN computes convolutions in TF32, which is exact to about three digits. These settings
    # exist since torch 1.7; some releases warn that newer ones replace them.
    warnings.filterwarnings("ignore", message=".*new API settings to control TF32.*")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _quieten_lightning() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are drawn from a tensor in memory
        ".*ModelCheckpoint with manual optimization.*",  # checkpoints are saved after the optimizer's step
        ".*Experiment logs directory .* exists and is not empty.*",  # it holds this run's config.yaml
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*`srun` command is available.*",  # a run without srun is intended
    ):
        warnings.filterwarnings("ignore", message=message)
