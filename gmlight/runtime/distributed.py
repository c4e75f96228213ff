"""The processes of one run: who does what, and the sums that bring their work together.

Without a process group there is one process, and every sum is what it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from gmlight.runtime.rank import is_main as is_main


@dataclass(frozen=True)
class Share:
    """What one rank does: of several units of work some, or of one unit a part.

    units: the rank's own. part, parts: which part of the unit's real images it takes, and of how many; the
    other parts are those of the ranks that have the same unit.
    """

    units: range
    part: int = 0
    parts: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank is the one that does what of a unit cannot be split."""
        return self.part == 0

    def slice(self, count: int) -> slice:
        """The rank's part of so many images."""
        return slice(count * self.part // self.parts, count * (self.part + 1) // self.parts)


def share(units: int, rank: int, size: int) -> Share:
    """Which of the units, such as classes, rank `rank` of `size` does: as many as the others, or one more."""
    if size <= units:
        return Share(range(units * rank // size, units * (rank + 1) // size))
    unit = rank * units // size
    group = _ranks_of(unit, units, size)
    return Share(range(unit, unit + 1), group.index(rank), len(group))


class Ranks:
    """This process among those of the run."""

    def __init__(self) -> None:
        self._groups: dict[int, Any] = {}  # by number of units, the group of this rank's

    @property
    def size(self) -> int:
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    @property
    def rank(self) -> int:
        return dist.get_rank() if self.size > 1 else 0

    def share(self, units: int) -> Share:
        """What this process does."""
        return share(units, self.rank, self.size)

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes its sum over all ranks."""
        if self.size > 1:
            _sum_together(list(tensors))

    def sum_parts(self, tensors: Iterable[Tensor], units: int) -> None:
        """Each becomes its sum over the ranks that have this rank's unit."""
        if self.size > units:
            _sum_together(list(tensors), self._groups.get(units) or self._make_groups(units))

    def copy(self, tensors: Iterable[Tensor]) -> None:
        """Each becomes rank 0's."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Of each flag whether it is true on any rank."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(counts)
        return [count > 0 for count in counts.tolist()]

    def gather(self, own: dict[int, float]) -> dict[int, float]:
        """What all ranks have, on every rank."""
        if self.size == 1:
            return own
        everything: list[dict[int, float]] = [{} for _ in range(self.size)]
        dist.all_gather_object(everything, own)
        return {number: value for of_rank in everything for number, value in of_rank.items()}

    def agree(self, content: Any) -> Any:
        """Rank 0's, on every rank; plain containers."""
        if self.size == 1:
            return content
        contents = [content]
        dist.broadcast_object_list(contents, src=0)
        return contents[0]

    def leave(self) -> None:
        """Together, when all is done: a process that ends with its group alive may be aborted at its end."""
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()
            self._groups.clear()

    def _make_groups(self, units: int) -> Any:
        # Every rank makes every group, in the same order.
        for unit in range(units):
            ranks = _ranks_of(unit, units, self.size)
            group = dist.new_group(ranks)
            if self.rank in ranks:
                self._groups[units] = group
        return self._groups[units]


def _sum_together(tensors: list[Tensor], group: Any = None) -> None:
    if not tensors:
        return
    # One message for all of them: each costs the same time to begin.
    together = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(together, group=group)
    for tensor, summed in zip(tensors, together.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def _ranks_of(unit: int, units: int, size: int) -> list[int]:
    return [rank for rank in range(size) if rank * units // size == unit]


ranks = Ranks()  # of this process
