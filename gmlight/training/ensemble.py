"""Several networks of one architecture, trained and tested as one module."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class Ensemble(nn.Module):
    """n networks as one module: [n, batch, channels, H, W] -> [n, batch, classes].

    Their parameters are stacked and the forward pass is vmapped, so n networks launch as many GPU kernels as
    one. Under autocast they run one after another. A single network is used directly and keeps its
    parameters.

    Args:
        networks: n networks of the same architecture.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.size = len(networks)
        if self.size == 1:
            self.only = networks[0]
            return
        parameters, buffers = stack_module_state(list(networks))
        self._names = list(parameters), list(buffers)
        self._stacked_parameters = nn.ParameterList(parameters.values())
        for i, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer{i}", buffer)
        # The architecture without weights; in a list, so that it is not registered as a submodule.
        self._template = [copy.deepcopy(networks[0]).to("meta")]

    def train(self, mode: bool = True) -> "Ensemble":
        super().train(mode)
        if self.size > 1:
            self._template[0].train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        if self.size == 1:
            return self.only(images[0]).unsqueeze(0)
        names, buffer_names = self._names
        parameters = dict(zip(names, self._stacked_parameters, strict=True))
        buffers = {name: getattr(self, f"buffer{i}") for i, name in enumerate(buffer_names)}

        def run_member(parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
            return functional_call(self._template[0], (parameters, buffers), (images,))

        if torch.is_autocast_enabled(images.device.type):  # which vmap would ignore
            return torch.stack(
                [
                    run_member(_of_member(parameters, i), _of_member(buffers, i), images[i])
                    for i in range(self.size)
                ]
            )
        return vmap(run_member, randomness="different")(parameters, buffers, images)


def _of_member(stacked: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return {name: values[i] for name, values in stacked.items()}
