"""A fake accelerator: its tensors wrap CPU tensors and refuse to mix with them, and it has no float64.

Only to be imported in a process of its own, for torch never forgets a device.
"""

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

import gmlight
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.matching import engine
from gmlight.reporting.dynamics import Point, measure
from gmlight.runtime import sizing
from gmlight.runtime.seeding import seeded
from helpers.runs import train_tiny

PACKAGE = Path(gmlight.__file__).parent
NAME = "elsewhere"
backend_registration._setup_privateuseone_for_python_backend(NAME)
HERE, THERE = torch.device("cpu"), torch.device(NAME, 0)
aten = torch.ops.aten
MEETING = {aten._to_copy.default, aten.copy_.default}  # operators that copy between devices
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}  # any device
OF_VALUES = {aten._local_scalar_dense.default, aten.nonzero.default, aten._unique2.default}

waits: list[str] = []  # waits for the device within an image update, named by their caller


class ElsewhereTensor(Tensor):
    """A tensor that torch sees on THERE; `raw` is on the CPU."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> "ElsewhereTensor":
        if raw.dtype in (torch.float64, torch.complex128):  # as on Apple's GPUs
            raise TypeError(f"{NAME} has no {raw.dtype}")
        tensor = Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), storage_offset=raw.storage_offset(),
            dtype=raw.dtype, device=THERE,
        )  # fmt: skip
        tensor.raw = raw
        return tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.raw.__reduce_ex__(protocol)  # a checkpoint contains the values

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One of torch's operators on tensors of both devices.

    Raises:
        RuntimeError: an accelerator would not have it.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, ElsewhereTensor)]
    wanted = kwargs.get("device")
    if there and func not in MEETING:
        checked = [args[0], *args[2:]] if func in INDEXING else tensors
        here = [each for each in checked if isinstance(each, Tensor) and each.device == HERE and each.ndim]
        if here:
            raise RuntimeError(f"{func}: tensors of two devices, {[tensor.device for tensor in tensors]}")
    if there and _has_to_wait(func, args, kwargs):
        _note_wait()
    if wanted is not None:
        kwargs = kwargs | {"device": HERE}
    outputs = func(*_raw(args), **_raw(kwargs))
    if torch.device(wanted or (THERE if there else HERE)) == HERE:
        return outputs
    same = {id(tensor.raw): tensor for tensor in there}  # tensors changed in place keep their identity

    def wrapped(out: Tensor) -> Tensor:
        return same[id(out)] if id(out) in same else ElsewhereTensor(out)

    return tree_map_only(Tensor, wrapped, outputs)


def _raw(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.raw if isinstance(leaf, ElsewhereTensor) else leaf, tree)


def _has_to_wait(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    # Whether the program has to wait for values of the device.
    if func is aten._to_copy.default:
        return kwargs.get("device") == HERE and not kwargs.get("non_blocking")
    if func is aten.copy_.default:
        return args[0].device == HERE and not (len(args) > 2 and args[2])
    if func in INDEXING:  # a mask determines the number of rows
        indices = [index for index in args[1] if isinstance(index, ElsewhereTensor)]
        return any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    return func in OF_VALUES


def _note_wait() -> None:
    frames = traceback.extract_stack()
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    if any(frame.name == "training_step" for frame in own):
        waits.append(f"{Path(own[-1].filename).name}: {own[-1].name}")


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """Handles functions below torch's operators."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and kwargs.get("device") == THERE:
            return torch.tensor(*args, **kwargs | {"device": HERE}).to(THERE)
        if func is Tensor.new_tensor and args[0].device == THERE:
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype} | kwargs).to(THERE)
        if func == Tensor.data.__set__ and args[1].device != args[0].device:
            old, new = args
            is_parameter = isinstance(old, nn.Parameter)
            return torch.utils.swap_tensors(
                old, nn.Parameter(new, old.requires_grad) if is_parameter else new
            )
        return func(*args, **kwargs)


class _Event:
    def __init__(self, device: torch.device) -> None: ...

    def record(self) -> None: ...

    def synchronize(self) -> None: ...


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None: ...


def trainer(**options: Any) -> lightning.Trainer:
    """`trainer._target_`: Lightning's Trainer with this device."""
    for key in ("accelerator", "devices"):
        del options[key]
    strategy = SingleDeviceStrategy(device=THERE, accelerator=_Accelerator())
    return lightning.Trainer(strategy=strategy, **options)


@contextmanager
def pretence() -> Iterator[None]:
    """Makes the device available to torch inside the block."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.Event = _Event  # type: ignore[assignment, misc]
    for module in (sizing, engine):  # it tells tensors apart by their addresses, which these tensors lack
        module.activation_bytes = lambda network, image: 2**18
    with _Operators(), _Constructors():
        yield


def _first_point(dataset: CondensedDataset, device: torch.device) -> Point:
    with seeded(0, "trajectory"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(dataset.images[0].numel(), 10)).to(device)
    images = dataset.labelled().to(device)
    return measure(network, 0, images, images)


def compare() -> None:
    """Does runs here and there; argv: a folder, and overrides by name.

    Writes found.json: by name the hash of the set here, the greatest difference of the images there, both
    evaluations, and what waits.
    """
    folder, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
    for name, words in cases.items():
        train_tiny(folder / name / "here", *words)
    found: dict[str, dict[str, Any]] = {}
    with pretence():
        for name, words in cases.items():
            waits.clear()
            try:
                train_tiny(folder / name / "there", *words, f"trainer._target_={__name__}.trainer")
            except Exception:
                found[name] = {"error": traceback.format_exc()}
                continue
            here, there = (CondensedDataset(folder / name / place) for place in ("here", "there"))
            found[name] = {
                "set": here.metadata["sha256"],
                "difference": (there.images - here.images).abs().max().item(),
                "evaluations": [each.metadata["evaluations"] for each in (here, there)],
                "waits": sorted(set(waits)),
                "trajectory": [astuple(_first_point(here, device)) for device in (HERE, THERE)],
            }
    (folder / "found.json").write_text(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # torch cannot shut down cleanly with a custom device
