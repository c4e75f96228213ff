"""Python functions for the commands: `gmlight.condense` and `gmlight.evaluate`."""

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
from gmlight.artifacts.hub import keep
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
from gmlight.config.literal import literal
from gmlight.config.overrides import quoted
from gmlight.config.stored import stored_configuration
from gmlight.data.in_memory import InMemoryData, check_fit, convnet_depth, in_memory, shared
from gmlight.data.inputs import Columns, read_split
from gmlight.errors import ConfigError
from gmlight.runtime.console import new_console

if TYPE_CHECKING:
    from typing_extensions import Unpack

_one_at_a_time = threading.RLock()  # Hydra's state is process-wide


class CondenseOptions(TypedDict, total=False):
    """Further options of `condense`, described there."""

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
    """Condenses a dataset as `python -m gmlight.train` does, and writes the same run folder.

    An argument that is None takes its value from conf/.

    Args:
        train: the training images: the name of a dataset, such as `"cifar10"`; a map-style torch Dataset of
            pairs (image, label), where an image is a PIL image, an array or a tensor and a label is an int;
            a pair (images, labels) of arrays or tensors; or a Hugging Face dataset. Images are
            [N, channels, H, W], [N, H, W, channels] or [N, H, W], with 1 or 3 channels; uint8, or float in
            0..1, which is rounded to 8 bits. Labels are 0 to C-1.
        ipc: condensed images per class.
        test: the test images, in the same forms. None: the test split of the dataset that `train` names;
            for other forms of `train`, a fifth of each class of `train` is held out.
        method: `dc`, `m`, `md`, `mdo`, `mda`, or another option of conf/method.
        scale: `paper`, `reduced`, `smoke`, or another option of conf/scale.
        overrides: further command-line overrides, such as `image_lr=0.2`.
        folder: the run folder; None: `runs/<name>-ipc<n>/<time>`.
        progress: whether to print.
        **options: `resume=True` resumes the run in `folder`, with the same arguments; `name` of the images
            in tables; `image_column` and `label_column` of a Hugging Face dataset; `config_dir`, a folder
            with user-defined options, as `--config-dir`.

    Returns:
        The condensed set, with its accuracies in `evaluations` and the run folder in `path`.

    Raises:
        ConfigError: an argument is invalid; the message names it and the fix.
        KeyboardInterrupt: the run was interrupted; `resume=True` resumes it.
    """
    _check_options(options, CondenseOptions, "condense")
    if options.get("resume") and folder is None:
        raise ConfigError("resume=True: name the run folder by folder=")
    data, source_words = _read_source(train, test, options)
    words = [*source_words, *words_of(ipc=ipc, method=method, scale=scale), *check_overrides(overrides)]
    config_dir = options.get("config_dir")
    composition = composed_command(
        "train",
        words,
        None if config_dir is None else Path(config_dir),
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

    An argument that is None has the value of the run that made the set. The result is also written to a new
    folder in `evaluations/` of the set's folder.

    Args:
        condensed: the set, its folder or its run folder.
        test: test images and labels, or a dataset's name, as in `condense`; None: the test images of the run.
        architectures: options of conf/architecture, such as `["convnet", "mlp"]`.
        networks: number of networks per architecture.
        overrides: further command-line overrides, such as `evaluation.epochs=100`.
        progress: whether to print.
        columns: column names of a Hugging Face dataset; None: found by types and names.

    Returns:
        Test accuracies in percent, by architecture: their `mean`, population `std`, and `values`, one per
        network.

    Raises:
        ConfigError: an argument is invalid; the message names it and the fix.
    """
    dataset = condensed if isinstance(condensed, CondensedDataset) else CondensedDataset(condensed)
    run = keep(dataset.path)
    words = check_overrides(overrides)
    if isinstance(architectures, str):
        raise ConfigError(f"architectures={architectures!r}: must be a list of names, [{architectures!r}]")
    if architectures is not None:
        words.append(f"evaluation.architectures=[{','.join(architectures)}]")
    words += words_of(**{"evaluation.networks": networks})
    stored, data = stored_configuration([f"run={run}", *words]), None
    if test is not None and not isinstance(test, str):
        split = read_split(test, "test", columns or Columns())
        check_fit(split, dataset.classes, tuple(dataset.images.shape[1:]), "the condensed set")
        data = InMemoryData(split, None, tuple(dataset.classes))
    composition = composed_command("evaluate", [f"run={quoted(str(run))}", *words])
    sharing = nullcontext() if data is None else shared(data)
    with _one_at_a_time, quiet(not progress):
        ConfigStore.instance().store("stored", stored)  # conf/evaluate.yaml composes from it
        with composition as (config, folder), sharing:
            if data is not None:
                _test_on(config, data, dataset)
            elif test is not None and test != dataset.metadata.get("choices", {}).get("dataset"):
                config.dataset, config.holdout = choose(config, "dataset", test), 0
            folder = folder.absolute()
            complete_for_one_process(config)
            run_in_folder(evaluate_command, config, folder, made_here=True)
    return read_accuracies(RunFolder(folder))


def _check_options(options: CondenseOptions, allowed: type, function: str) -> None:
    for key in options:
        if key not in allowed.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {key!r}")


def _read_source(train: Any, test: Any, options: CondenseOptions) -> tuple[InMemoryData | None, list[str]]:
    # Returns the program's data, None if `train` names a dataset; and the overrides that choose the dataset.
    name = options.get("name")
    if isinstance(train, str):
        if (test is not None and test != train) or name is not None:
            raise ConfigError(f"train={train!r}: has its own test images and name; leave out test= and name=")
        return None, [f"dataset={train}"]
    columns = Columns(options.get("image_column"), options.get("label_column"))
    return in_memory(train, test, columns), ["dataset=in_memory", *_name_word(name)]


def _prepare_condensing(config: DictConfig, data: InMemoryData | None) -> None:
    if HydraConfig.get().runtime.choices["initialization"] == "whole":
        raise ConfigError(
            "initialization=whole: there is no condensed set to return; use python -m gmlight.train"
        )
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
    # Values for the keys that are null in conf/dataset/in_memory.yaml.
    channels, *size = data.shape
    values = {"sha256": data.sha256, "channels": channels, "size": size, "convnet_depth": convnet_depth(size)}
    return {f"dataset.{key}": value for key, value in values.items()}


def _test_on(config: DictConfig, data: InMemoryData, condensed: CondensedDataset) -> None:
    # Replaces the dataset by the given test images.
    if any(config.evaluation.baselines.values()):
        raise ConfigError("evaluation.baselines: need training images; leave them out, or leave out test=")
    function = {"_target_": "gmlight.data.in_memory.read", "_partial_": True, "sha256": data.sha256}
    with open_dict(config):
        config.dataset.pop("find_classes", None)
        config.dataset.load, config.holdout = function, 0
        config.dataset.update(
            {
                "name": "in-memory",
                "classes": literal(condensed.classes),
                "mean": condensed.mean,
                "std": condensed.std,
            }
        )
