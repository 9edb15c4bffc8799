"""What the UNet is told: the text-only prompt at first, the ID prompt later.

PhotoMaker merges the person in late ("delayed subject conditioning", arXiv 2305.10431): the first steps lay
the picture out from the text alone, the rest see the ID prompt. Stock diffusers pipelines read their prompt
embeddings anew at every step and take them back from a callback, so one callback is the whole of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.callbacks import PipelineCallback
from torch import Tensor

from photomaker.method.id_encoder import IDEncoder
from photomaker.method.prompts import Prompt, plain

LATEST_MERGE_STEP = 30

OnStep = Callable[[int, int], None]
OnLatents = Callable[[int, int, Tensor], None]
Prompts = tuple[Prompt, Prompt]  # one prompt as the two text encoders' tokenizers read it


@dataclass(frozen=True)
class Embedding:
    """A prompt as SDXL takes it: ``sequence`` [1, 77, width] and ``pooled`` [1, pooled width]."""

    sequence: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class IDPrompt(Embedding):
    """The ID prompt, and which words found no room in it."""

    dropped: str


LateIDPrompt = IDPrompt | Callable[[], IDPrompt]


@dataclass(frozen=True)
class Conditioning:
    """The three prompts of one request.

    Attributes:
        text_only: The prompt without the person.
        negative: What the pictures should not show.
        identity: The ID prompt; or what answers with it, asked once, when the first step that sees it is next.
    """

    text_only: Embedding
    negative: Embedding
    identity: LateIDPrompt

    @property
    def dropped(self) -> str:
        """The words that found no room in the ID prompt, once that is known."""
        return self.identity.dropped if isinstance(self.identity, IDPrompt) else ""


def start_merge_step(style_strength: int, num_inference_steps: int) -> int:
    """The last step that still sees the text alone, from ``style_strength`` in percent of the steps."""
    return min(int(style_strength / 100 * num_inference_steps), LATEST_MERGE_STEP)


@torch.inference_mode()
def condition_on_text(pipe: StableDiffusionXLPipeline, prompts: Prompts, negative_prompt: str) -> list[Embedding]:
    """The text-only and the negative prompt, encoded: what the first steps need, and no photo."""
    return encode(pipe, [[prompt.text_only(), plain(negative_prompt, prompt.tokenizer)] for prompt in prompts])


@torch.inference_mode()
def condition_on_identity(
    pipe: StableDiffusionXLPipeline, encoder: IDEncoder, prompts: Prompts, id_tokens: Tensor
) -> IDPrompt:
    """The ID prompt: the prompt's class tokens, encoded and fused with the ID tokens [n, width].

    Raises:
        TooManyPhotosError: The prompt has no room for so many.
    """
    photos = len(id_tokens) // encoder.tokens_per_photo
    tokenized = [prompt.tokens(photos) for prompt in prompts]
    (text,) = encode(pipe, [[tokens.id_prompt] for tokens in tokenized])
    fused = encoder.fuse(text.sequence, id_tokens, tokenized[1].class_tokens)
    return IDPrompt(fused, text.pooled, tokenized[1].dropped)


def encode(pipe: StableDiffusionXLPipeline, rows: list[list[list[int]]]) -> list[Embedding]:
    """Prompts through both text encoders together; ``rows`` has their ids by each tokenizer."""
    device = pipe.text_encoder_2.device
    first, second = (torch.tensor(ids, device=device) for ids in rows)
    hidden = pipe.text_encoder(first, output_hidden_states=True).hidden_states[-2]
    output = pipe.text_encoder_2(second, output_hidden_states=True)
    sequence = torch.cat([hidden, output.hidden_states[-2]], dim=-1)
    return [Embedding(sequence[i : i + 1], output.text_embeds[i : i + 1]) for i in range(len(sequence))]


class DelayedMerge(PipelineCallback):
    """Swaps the ID prompt in at the end of one step, sequence and pooled embedding alike.

    Under guidance both are [negatives, positives] along the batch; the negatives, where there are any, stay.

    Args:
        identity: The ID prompt, or what answers with it; not asked before it is needed.
        step: The pipeline's own index of the last step that sees the text alone; None: nothing is swapped.
        images: How many images the batch makes.
        on_step: Told (steps done, steps in all) after each step; what it raises ends the run.
        on_latents: Shown (steps done, steps in all, the latents) before that; not to change them.
    """

    def __init__(
        self,
        identity: LateIDPrompt,
        step: int | None,
        images: int,
        on_step: OnStep | None = None,
        on_latents: OnLatents | None = None,
    ) -> None:
        super().__init__()
        self.identity = identity
        self.step = step
        self.images = images
        self.on_step = on_step
        self.on_latents = on_latents

    @property
    def tensor_inputs(self) -> list[str]:
        return ["prompt_embeds", "add_text_embeds", *(["latents"] if self.on_latents is not None else [])]

    def callback_fn(
        self,
        pipeline: StableDiffusionXLPipeline,
        step_index: int,
        timesteps: Tensor,
        callback_kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        if step_index == self.step:
            identity = settled(self.identity)
            for name, new in (("prompt_embeds", identity.sequence), ("add_text_embeds", identity.pooled)):
                old = cast(Tensor, callback_kwargs[name])
                positives = new.to(old).expand(self.images, *new.shape[1:])
                callback_kwargs[name] = torch.cat([old[: -self.images], positives])
        if self.on_latents is not None:
            self.on_latents(step_index + 1, pipeline.num_timesteps, callback_kwargs["latents"])
        if self.on_step is not None:
            self.on_step(step_index + 1, pipeline.num_timesteps)
        return callback_kwargs


class GuidanceStop(PipelineCallback):
    """Ends classifier-free guidance with a step; those after it follow the prompt alone, in half the time.

    Guidance is needed where the picture is laid out, and does harm where its details are drawn ("limited interval",
    arXiv 2404.07724).

    Args:
        step: The pipeline's own index of the last guided step.
    """

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    @property
    def tensor_inputs(self) -> list[str]:
        return ["prompt_embeds", "add_text_embeds", "add_time_ids"]

    def callback_fn(
        self,
        pipeline: StableDiffusionXLPipeline,
        step_index: int,
        timesteps: Tensor,
        callback_kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        if step_index == self.step and pipeline.do_classifier_free_guidance:
            for name in self.tensor_inputs:
                _, callback_kwargs[name] = callback_kwargs[name].chunk(2)  # negatives, positives
            pipeline._guidance_scale = 0.0
        return callback_kwargs


def settled(identity: LateIDPrompt) -> IDPrompt:
    """The ID prompt itself, waited for where it is still to come."""
    return identity if isinstance(identity, IDPrompt) else identity()
