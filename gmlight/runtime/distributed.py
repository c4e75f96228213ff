"""Distribution of the work of a run over its processes, and the collectives that combine the results.

Without a process group there is one process, and the collectives return their input.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from gmlight.runtime.rank import is_main as is_main


@dataclass(frozen=True)
class Share:
    """One rank's share of the work: several units, or one part of a single unit.

    Attributes:
        units: the units of this rank.
        part: index of the part of the unit's real images that this rank takes.
        parts: number of ranks that share the unit.
    """

    units: range
    part: int = 0
    parts: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank does the part of a unit's work that cannot be split."""
        return self.part == 0

    def slice(self, count: int) -> slice:
        """Returns the slice of `count` images that this rank takes."""
        return slice(count * self.part // self.parts, count * (self.part + 1) // self.parts)


def share(units: int, rank: int, size: int) -> Share:
    """Returns the share of one rank; the ranks' numbers of units differ by one at most.

    Args:
        units: number of units of work, such as classes.
        rank: the rank.
        size: number of ranks.
    """
    if size <= units:
        return Share(range(units * rank // size, units * (rank + 1) // size))
    unit = rank * units // size
    group = _ranks_with_unit(unit, units, size)
    return Share(range(unit, unit + 1), group.index(rank), len(group))


class Ranks:
    """Collectives among the processes of the run."""

    def __init__(self) -> None:
        self._groups: dict[int, Any] = {}  # this rank's group, by number of units

    @property
    def size(self) -> int:
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    @property
    def rank(self) -> int:
        return dist.get_rank() if self.size > 1 else 0

    def share(self, units: int) -> Share:
        """Returns the share of this process."""
        return share(units, self.rank, self.size)

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor with its sum over all ranks, in place."""
        if self.size > 1:
            _sum_together(list(tensors))

    def sum_parts(self, tensors: Iterable[Tensor], units: int) -> None:
        """Replaces each tensor with its sum over the ranks that share this rank's unit, in place."""
        if self.size > units:
            _sum_together(list(tensors), self._groups.get(units) or self._make_groups(units))

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor with that of rank 0, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Returns, for each flag, whether it is true on any rank."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def gather(self, values: dict[int, float]) -> dict[int, float]:
        """Returns the values of all ranks, on every rank."""
        if self.size == 1:
            return values
        gathered: list[dict[int, float]] = [{} for _ in range(self.size)]
        dist.all_gather_object(gathered, values)
        return {key: value for rank_values in gathered for key, value in rank_values.items()}

    def gather_objects(self, content: Any) -> list[Any]:
        """Returns the contents of all ranks, in rank order, on every rank; plain containers."""
        contents: list[Any] = [content] * self.size
        if self.size > 1:
            dist.all_gather_object(contents, content)
        return contents

    def broadcast(self, content: Any) -> Any:
        """Returns rank 0's content on every rank, so that all ranks agree; plain containers."""
        if self.size == 1:
            return content
        contents = [content]
        dist.broadcast_object_list(contents, src=0)
        return contents[0]

    def shut_down(self) -> None:
        """Destroys the process group, all ranks together: an exit with a live group may abort."""
        if dist.is_available() and dist.is_initialized():
            with suppress(RuntimeError):  # another process may be lost after its work
                dist.barrier()
            dist.destroy_process_group()
            self._groups.clear()

    def _make_groups(self, units: int) -> Any:
        # torch requires every rank to make every group, in the same order.
        for unit in range(units):
            ranks = _ranks_with_unit(unit, units, self.size)
            group = dist.new_group(ranks)
            if self.rank in ranks:
                self._groups[units] = group
        return self._groups[units]


def _sum_together(tensors: list[Tensor], group: Any = None) -> None:
    if not tensors:
        return
    # One message for all tensors, because each message has a fixed cost.
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat, group=group)
    for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def _ranks_with_unit(unit: int, units: int, size: int) -> list[int]:
    return [rank for rank in range(size) if rank * units // size == unit]


ranks = Ranks()  # of this process
