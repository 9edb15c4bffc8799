"""What the compiler makes of the full-size networks for a card, on a machine without one: kernels, and failures.

    pip install --no-deps triton==3.7.1          # the one that PyPI's torch 2.13.0 asks for; CPU builds come without
    python -m benchmarks.gpu.codegen [--targets sm_90 sm_80]

Dynamo traces the real networks, switched as fal.toml has them and in each other way that can be compiled; Inductor
writes Triton kernels for the card's properties (:mod:`.made_up_card`), and Triton and ptxas, which is in its wheel,
compile them to the card's machine code. No kernel is launched, so this shows that all of them compile and fit the card,
not that they are right or fast. What only a card can tell is left out: the searches of "max-autotune", padding of
matrices, and which of the libraries' kernels attention and convolutions call. Takes a few minutes on two cores.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import full_size
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from torch._dynamo import register_backend
from torch._inductor.compile_fx import compile_fx
from torch._inductor.utils import fresh_cache
from torch.overrides import TorchFunctionMode

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment, InferenceSettings
from photomaker.weights import prepared
from photomaker.weights.inference import accelerate

from .made_up_card import CARDS, Card, made_up

ROOT = Path(__file__).parents[2]
SIDE = 128  # of latents
CUDA = torch.device("cuda:0")
BLOCKS = ("BasicTransformerBlock", "ResnetBlock2D")
WIDEST_FLASH = 256  # of a head; the VAE's are wider
LAUNCH = re.compile(r"^\s+triton_\w+\.run\(", re.MULTILINE)
LIBRARY = re.compile(r"^\s+(?:\w+ = )?(?:extern_kernels\.|torch\.ops\.aten\.)", re.MULTILINE)
WAYS: dict[str, dict[str, Any]] = {
    "as fal.toml": {},
    "compile_resnets": {"compile_resnets": True},
    "project_prompts_once": {"project_prompts_once": True},
    'compile = "whole"': {"compile": "whole"},
}


@dataclass
class Made:
    """What the compiler made of one kind of module."""

    graphs: int = 0
    launches: int = 0
    library: int = 0
    kernels: dict[str, tuple[int, int]] = field(default_factory=dict)  # name: bytes shared, bytes spilled
    failures: list[str] = field(default_factory=list)


class Compiler:
    """A backend of torch.compile that compiles for the card, and runs the graph as it was."""

    def __init__(self, card: Card) -> None:
        self.card = card
        self.of = ""  # the kind of module that runs
        self.made: dict[str, Made] = {}

    def __call__(self, graph: torch.fx.GraphModule, _: list[Any]) -> Any:
        made = self.made.setdefault(self.of, Made())
        made.graphs += 1
        try:
            with made_up(self.card), self.watched(made), Slicing():
                compile_fx(*on_card(graph))
        except Exception as error:
            made.failures.append(f"{type(error).__name__}: {str(error)[:300]}")
        return graph.forward

    @contextmanager
    def watched(self, made: Made) -> Iterator[None]:
        """Within, what is compiled is noted."""
        import triton

        compile_kernel = triton.compile

        def compiled(*args: Any, **kwargs: Any) -> Any:
            kernel = compile_kernel(*args, **kwargs)
            shared, spilled = kernel.metadata.shared, spilled_bytes(kernel.asm["cubin"])
            made.kernels[f"{len(made.kernels)} {kernel.metadata.name}"] = shared, spilled
            if shared > self.card.shared:
                made.failures.append(f"{kernel.metadata.name} wants {shared} shared bytes")
            return kernel

        def written(code: str) -> None:
            calls = code[code.index("def call(") :]
            made.launches += len(LAUNCH.findall(calls))
            made.library += len(LIBRARY.findall(calls))

        save = "torch._inductor.graph.GraphLowering.save_output_code"
        alone = torch._inductor.config.patch(fx_graph_cache=False, shape_padding=False, compile_threads=1)
        with alone, patch("triton.compile", compiled), patch(save, staticmethod(written)):
            yield

    def name(self, kind: str, *_: Any) -> None:
        self.of = kind


def on_card(graph: torch.fx.GraphModule) -> tuple[torch.fx.GraphModule, list[Any]]:
    """The graph, and its inputs' shapes, as they would be on the card."""
    mode: Any = torch._guards.TracingContext.get().fake_mode
    moved = torch.fx.GraphModule(graph, torch.fx.Graph())
    moved.graph.output(moved.graph.graph_copy(graph.graph, {}))
    inputs: list[Any] = []
    for node in moved.graph.nodes:
        example = node.meta.pop("example_value", None)
        if node.op == "placeholder":
            if isinstance(example, Tensor):
                with mode:
                    example = torch.empty_strided(example.shape, example.stride(), dtype=example.dtype, device=CUDA)
            inputs.append(example)
        node.args, node.kwargs = (torch.fx.node.map_aggregate(part, to_card) for part in (node.args, node.kwargs))
        if node.op == "call_function" and node.target is torch.nn.functional.scaled_dot_product_attention:
            node.target = attention
        if node.op == "call_function" and node.target is torch.nn.functional.interpolate:
            node.target = upsampled
    moved.recompile()
    return moved, inputs


def to_card(value: Any) -> Any:
    return CUDA if isinstance(value, torch.device) else value


class Slicing(TorchFunctionMode):
    """``tensor[...]`` as the operations that it stands for; by itself it asks CUDA."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__getitem__:
            return sliced(*args)
        return func(*args, **(kwargs or {}))


def sliced(value: Tensor, index: Any) -> Tensor:
    dim = 0
    for one in index if isinstance(index, tuple) else (index,):
        if isinstance(one, slice):
            value = torch.ops.aten.slice(value, dim, one.start, one.stop, one.step or 1)
        elif one is None:
            value = value.unsqueeze(dim)
        else:
            value, dim = value.select(dim, one), dim - 1
        dim += 1
    return value


def upsampled(value: Tensor, scale_factor: float, mode: str) -> Tensor:
    """To twice the size, as Inductor reads it."""
    assert (scale_factor, mode) == (2.0, "nearest")
    rows, columns = (torch.arange(2 * size, device=CUDA) // 2 for size in value.shape[2:])
    made: Tensor = torch.ops.aten._unsafe_index(value, [None, None, rows.unsqueeze(-1), columns])
    return made


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, **_: Any) -> Tensor:
    """The library's call that CUDA would choose; a PyTorch without CUDA cannot choose it."""
    aten = torch.ops.aten
    made: tuple[Tensor, ...] = (
        aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)
        if q.shape[-1] <= WIDEST_FLASH
        else aten._scaled_dot_product_efficient_attention(q, k, v, None, False, scale=scale)
    )
    return made[0]


def spilled_bytes(cubin: bytes) -> int:
    """Of a thread's registers that found no room."""
    from triton import knobs

    with TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(map(int, re.findall(r"LOCAL:(\d+)", said)))


def compiled_for(card: Card, switches: dict[str, Any]) -> dict[str, Made]:
    """By kind of module what the compiler made of full-size networks with these switches."""
    torch._dynamo.reset()
    settings = Deployment.read(ROOT / "fal.toml").inference
    compiler = Compiler(card)
    name = f"{card.name}, {switches}"
    register_backend(compiler, name=name)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**full_size.UNET).to(torch.bfloat16).eval().requires_grad_(False)
        vae = AutoencoderKL(**full_size.VAE).to(torch.bfloat16).eval().requires_grad_(False)
    blocks = [module for module in unet.modules() if type(module).__name__ in BLOCKS]
    for module in (unet, *blocks, vae.decoder):
        module.register_forward_pre_hook(partial(compiler.name, kind_of(module)))
    pipe = SimpleNamespace(text2img=SimpleNamespace(unet=unet, vae=vae))
    wanted = InferenceSettings.model_validate(settings.model_dump() | switches)
    accelerate(cast(PhotoMakerPipeline, pipe), wanted, backend=name)
    empty = partial(torch.empty, dtype=torch.bfloat16, device="meta")
    with torch.inference_mode():
        for batch in (2, 1):
            added = {"text_embeds": empty(batch, 1280), "time_ids": empty(batch, 6)}
            step = torch.tensor(500.0, device="meta")
            latents, prompt = empty(batch, 4, SIDE, SIDE), empty(batch, 77, 2048)
            unet(latents, step, encoder_hidden_states=prompt, added_cond_kwargs=added, return_dict=False)
        if not switches:
            vae.decode(empty(1, 4, SIDE, SIDE), return_dict=False)
    return compiler.made


def kind_of(module: nn.Module) -> str:
    width = f" {module.norm1.normalized_shape[0]}" if type(module).__name__ == "BasicTransformerBlock" else ""  # type: ignore
    return type(module).__name__ + width


def measure(target: str) -> None:
    prepared.hush()
    for way, switches in WAYS.items():
        start = time.perf_counter()
        with fresh_cache():
            made = compiled_for(CARDS[target], switches)
        print(f"{target}, {way}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        for kind, one in made.items():
            shared = max((shared for shared, _ in one.kernels.values()), default=0)
            spilling = sum(spilled > 0 for _, spilled in one.kernels.values())
            print(
                f"| {target} | {way} | {kind} | {one.graphs} | {len(one.kernels)} | {one.launches} | {one.library} "
                f"| {shared / 1024:.0f} | {spilling} | {len(one.failures)} |",
                flush=True,
            )
            for failure, count in Counter(one.failures).items():
                print(f"{count} x {failure}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=CARDS, default=list(CARDS))
    parser.add_argument("--target", choices=CARDS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.target:
        measure(given.target)
        return
    print(f"torch {version('torch')}, triton {version('triton')}; nothing was launched\n")
    print(
        "| card | switches | module | graphs | kernels | launches | library calls | KiB shared, most | spill | fail |"
    )
    print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for target in given.targets:  # a process of its own for each: compilers ask for a device's properties once
        subprocess.run([sys.executable, "-m", "benchmarks.gpu.codegen", "--target", target], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
