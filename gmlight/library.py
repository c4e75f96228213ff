"""The commands as functions of a Python program: `gmlight.condense` and `gmlight.evaluate`."""

import os
import re
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.results import Accuracy, read_accuracies
from gmlight.artifacts.run_folder import RunFolder
from gmlight.commands.evaluate import evaluate as evaluate_command
from gmlight.commands.in_program import (
    check_overrides,
    complete_for_one_process,
    composed_command,
    quiet,
    run_in_folder,
    words_of,
)
from gmlight.commands.train import train as train_command
from gmlight.config.compose import choose
from gmlight.config.in_process import quoted
from gmlight.config.stored import stored_configuration
from gmlight.data.in_memory import InMemoryData, check_fit, convnet_depth, in_memory, shared
from gmlight.data.inputs import Columns, read_split
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console

if TYPE_CHECKING:
    from typing_extensions import Unpack

_one_at_a_time = threading.RLock()  # Hydra's state is the whole process's


class CondenseOptions(TypedDict, total=False):
    """Further options of `condense`; its docstring says what they are."""

    resume: bool
    name: str | None
    image_column: str | None
    label_column: str | None
    config_dir: str | os.PathLike[str] | None


def condense(
    train: Any,
    ipc: int | None = None,
    test: Any = None,
    *,
    method: str | None = None,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    folder: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: "Unpack[CondenseOptions]",
) -> CondensedDataset:
    """Condenses a dataset, as `python -m gmlight.train` does, and leaves the same run folder.

    Whatever is None has the value that conf/ gives it.

    Args:
        train: the name of a dataset (`"cifar10"`); a map-style torch Dataset of (PIL image, array or tensor,
            int); a pair (images, labels) of tensors or arrays; or a Hugging Face dataset. Images are uint8,
            or float in 0..1 and rounded to 8 bits; with 1 or 3 channels, first or last, or [N, H, W].
            Labels are 0 to C-1.
        ipc: condensed images per class.
        test: the test images, likewise. None: the dataset's own where `train` is a name, else a fifth of
            each class is held out of `train`.
        method: `dc`, `m`, `md`, `mdo`, `mda`, or another option of conf/method.
        scale: `paper`, `reduced`, `smoke`, or another option of conf/scale.
        overrides: further words of the command line, such as `image_lr=0.2`.
        folder: the run folder; None: `runs/<name>-ipc<n>/<time>`.
        progress: False prints nothing.
        **options: `resume=True` resumes the run of `folder`, with the same arguments; `name` of the images;
            `image_column` and `label_column` of Hugging Face datasets; `config_dir`, a folder with options
            of your own, as `--config-dir`.

    Returns:
        The condensed set. Its accuracies are in `evaluations`, the run folder is its `path`.

    Raises:
        ConfigError: an argument cannot be used; it says which, and what to do.
        KeyboardInterrupt: the run was interrupted; `resume=True` resumes it.
    """
    _check_options(options, CondenseOptions, "condense")
    if options.get("resume") and folder is None:
        raise ConfigError("resume=True: name the run folder by folder=")
    data, source_words = _read_source(train, test, options)
    words = [*source_words, *words_of(ipc=ipc, method=method, scale=scale), *check_overrides(overrides)]
    own_conf = options.get("config_dir")
    composition = composed_command(
        "train",
        words,
        None if own_conf is None else Path(own_conf),
        None if data is None else _describe_data(data),
    )
    sharing = nullcontext() if data is None else shared(data)
    with _one_at_a_time, quiet(not progress), composition as (config, default_folder), sharing:
        run_folder = (default_folder if folder is None else Path(folder)).absolute()
        if options.get("resume"):
            config.resume = str(run_folder)
        _prepare_condensing(config, data)
        run_in_folder(train_command, config, run_folder, made_here=folder is None)
    return CondensedDataset(run_folder)


def evaluate(
    condensed: CondensedDataset | str | os.PathLike[str],
    test: Any = None,
    *,
    architectures: Sequence[str] | None = None,
    networks: int | None = None,
    overrides: Sequence[str] = (),
    progress: bool = True,
    columns: Columns | None = None,
) -> dict[str, Accuracy]:
    """Trains fresh networks on a condensed set and tests them, as `python -m gmlight.evaluate` does.

    Whatever is None is as in the run that made the set. The result is also written to a new folder in
    `evaluations/` of the set's folder.

    Args:
        condensed: the set, its run folder or its own folder.
        test: test images and labels, or a dataset's name, as in `condense`; None: those of the set's run.
        architectures: names of conf/architecture, such as `["convnet", "mlp"]`.
        networks: number of networks of each architecture.
        overrides: further words of the command line, such as `evaluation.epochs=100`.
        progress: False prints nothing.
        columns: of a Hugging Face dataset; None: found by their types and names.

    Returns:
        By architecture, the test accuracies in percent: their `mean`, `std` (population) and `values`, one
        a network.

    Raises:
        ConfigError: an argument cannot be used; it says which, and what to do.
    """
    made = condensed if isinstance(condensed, CondensedDataset) else CondensedDataset(condensed)
    words = check_overrides(overrides)
    if architectures is not None:
        words.append(f"evaluation.architectures=[{','.join(architectures)}]")
    words += words_of(**{"evaluation.networks": networks})
    ConfigStore.instance().store("stored", stored_configuration([f"run={made.path}", *words]))
    data = None
    if test is not None and not isinstance(test, str):
        split = read_split(test, "test", columns or Columns())
        check_fit(split, made.classes, tuple(made.images.shape[1:]), "the condensed set")
        data = InMemoryData(split, None, tuple(made.classes))
    with (
        _one_at_a_time,
        quiet(not progress),
        composed_command("evaluate", [f"run={quoted(str(made.path))}", *words]) as (config, folder),
        nullcontext() if data is None else shared(data),
    ):
        if data is not None:
            _test_on(config, data, made)
        elif test is not None and test != made.metadata.get("choices", {}).get("dataset"):
            config.dataset, config.holdout = choose(config, "dataset", test), 0
        folder = folder.absolute()
        complete_for_one_process(config)
        run_in_folder(evaluate_command, config, folder, made_here=True)
    return read_accuracies(RunFolder(folder))


def _check_options(options: CondenseOptions, known: type, function: str) -> None:
    for key in options:
        if key not in known.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {key!r}")


def _read_source(train: Any, test: Any, options: CondenseOptions) -> tuple[InMemoryData | None, list[str]]:
    # The data that the program holds, None for a dataset's name; and the words that choose it.
    name = options.get("name")
    if isinstance(train, str):
        if (test is not None and test != train) or name is not None:
            raise ConfigError(f"train={train!r}: has its own test images and name; leave out test= and name=")
        return None, [f"dataset={train}"]
    columns = Columns(options.get("image_column"), options.get("label_column"))
    return in_memory(train, test, columns), ["dataset=in_memory", *_name_word(name)]


def _prepare_condensing(config: DictConfig, data: InMemoryData | None) -> None:
    if HydraConfig.get().runtime.choices["initialization"] == "whole":
        raise ConfigError("initialization=whole: leaves no condensed set; use python -m gmlight.train")
    without_test = data is not None and data.test is None
    if without_test and not config.holdout:
        config.holdout = config.dataset.test_share
    complete_for_one_process(config)
    if without_test:
        share = f"{config.holdout:.0%} of each class's training images"
        line = f"no test images were given: {share} are held out for testing"
        new_console().print(line, soft_wrap=True)


def _name_word(name: str | None) -> list[str]:
    if name is None:
        return []
    if not re.fullmatch(r"\w[\w.-]*", name):  # it names a folder
        raise ConfigError(f"name={name!r}: must be letters, digits, and any of _ . -")
    return [f"dataset.name={quoted(name)}"]


def _describe_data(data: InMemoryData) -> dict[str, Any]:
    # For the keys of conf/dataset/in_memory.yaml that are null.
    channels, *size = data.shape
    values = {"sha256": data.sha256, "channels": channels, "size": size, "convnet_depth": convnet_depth(size)}
    return {f"dataset.{key}": value for key, value in values.items()}


def _test_on(config: DictConfig, data: InMemoryData, made: CondensedDataset) -> None:
    # The set's dataset, with other test images.
    if any(config.evaluation.baselines.values()):
        raise ConfigError("evaluation.baselines: need training images; leave them out, or leave out test=")
    function = {"_target_": "gmlight.data.in_memory.read", "_partial_": True, "sha256": data.sha256}
    with open_dict(config):
        config.dataset.pop("find_classes", None)
        config.dataset.load, config.holdout = function, 0
        config.dataset.update(
            {"name": "in-memory", "classes": made.classes, "mean": made.mean, "std": made.std}
        )
