"""Settings of the whole process: allocator, number formats, Lightning's messages."""

import logging
import warnings

from omegaconf import DictConfig


def prepare_process(config: DictConfig) -> None:
    """Sets the allocator and the number formats of the process, and hides Lightning's remarks.

    Called once, before anything large is allocated.
    """
    import torch  # slow, and needed only once a configuration is accepted

    from gmlight.runtime.memory import keep_large_blocks

    if config.speed.allocator == "auto":
        keep_large_blocks()
    _quieten_lightning()
    # cuDNN's own default is TF32 for convolutions, whose results have three digits. The settings' names are
    # those that every torch since 1.7 has; some releases ask for newer ones.
    warnings.filterwarnings("ignore", message=".*new API settings to control TF32.*")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _quieten_lightning() -> None:
    # Hides remarks that say nothing about a run.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are drawn from a tensor in this process
        ".*ModelCheckpoint with manual optimization.*",  # a checkpoint is wanted after the step
        ".*Experiment logs directory .* exists and is not empty.*",  # this run's own config.yaml
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*`srun` command is available.*",  # a run outside Slurm on a machine that has it is no mistake
    ):
        warnings.filterwarnings("ignore", message=message)
