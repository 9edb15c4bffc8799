"""The cross-attention's keys and values, projected once a prompt instead of once a step.

They depend on the prompt alone, which changes in a request only where the person is merged in, and where guidance ends
before the last step. The projection moves from inside the attention, where a compiler fixes it, to in front of its
transformer block: a hook hands the block the projected prompt in the prompt's place.
"""

import weakref
from typing import Any

from torch import Tensor, nn

Hooked = tuple[tuple[Any, ...], dict[str, Any]]


def project_prompts_once(unet: nn.Module) -> None:
    """Change a UNet whose key and value projections are fused, in place; one that is changed already not again.

    To be called before its blocks are compiled.
    """
    for block in unet.modules():
        if type(block).__name__ == "BasicTransformerBlock" and not hasattr(block, "prompt_projection"):
            attention: Any = block.attn2
            projection: nn.Module = attention.to_kv
            block.prompt_projection = projection  # still a part of the network, and moved with it
            attention.to_kv = nn.Identity()
            block.register_forward_pre_hook(Projection(projection), with_kwargs=True)


class Projection:
    """A hook that answers for the same prompt from memory, for as long as somebody else keeps that tensor."""

    def __init__(self, linear: nn.Module) -> None:
        self.linear = linear
        self.of: weakref.ref[Tensor] | None = None
        self.projected: Tensor | None = None

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hooked:
        prompt = kwargs["encoder_hidden_states"]
        if self.of is None or self.of() is not prompt:
            self.projected = self.linear(prompt)
            self.of = weakref.ref(prompt, self.forget)
        return args, kwargs | {"encoder_hidden_states": self.projected}

    def forget(self, gone: "weakref.ref[Tensor]") -> None:
        if gone is self.of:
            self.of = self.projected = None
