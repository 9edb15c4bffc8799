"""The recipe's parts that can be checked without training a checkpoint."""

import contextlib
import dataclasses
import functools
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import ImageFilter
from torch import nn

from photomaker.method.prompts import TRIGGER
from training import drawn, loop, sharper, team
from training.batches import Ahead, window_at
from training.captions import CLASS_WORDS, caption
from training.cases import cases, load_nano, renders
from training.decoder import PatchDiscriminator
from training.enlarge import enlarged
from training.export import NANO
from training.identity import draw_photo
from training.looks import LORA_STYLE, STYLES, render_in_style
from training.loop import Schedule, groups_of, train
from training.muon import Muon, orthogonalized
from training.photos import disturbed
from training.pictures import PICTURES_EACH, describe
from training.polish import adapted
from training.reading import UNREADABLE
from training.smears import distance, load_smear_reader, passing
from training.team import TEAM
from training.wider import widened


def run(stop_before: int | None = None) -> list[float]:
    """Six steps of a stage that may be killed, and its weights and means then."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1))

    def loss_at(step: int) -> torch.Tensor:
        if step == stop_before:
            raise KeyboardInterrupt
        return network(torch.randn(16, 4)).square().mean()

    schedule = Schedule(steps=6, rate=1e-2, matrix_rate=1e-2, warmup=1, save_every=2)
    train("toy", groups_of(network), schedule, loss_at, lambda: None, list(network.buffers()))
    return torch.cat([value.flatten() for value in network.state_dict().values()]).tolist()


def test_a_killed_stage_goes_on_where_it_last_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "WORK", tmp_path / "straight")
    loop.WORK.mkdir()
    straight = run()
    monkeypatch.setattr(loop, "WORK", tmp_path / "killed")
    loop.WORK.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(stop_before=5)
    assert run() == straight


def learn(work: Path, stop_before: int | None = None) -> None:
    """A stage that a team may share; leaves its weights in a file."""
    loop.WORK = work
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8), nn.Linear(8, 1))

    def loss_at(step: int) -> torch.Tensor:
        if step == stop_before:
            raise SystemExit
        batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        return network(batch[list(TEAM.part_of(range(16)))]).square().mean()

    def save() -> None:
        torch.save(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]), work / "network.pt")

    schedule = Schedule(steps=6, rate=1e-2, matrix_rate=1e-2, warmup=1, save_every=2)
    with contextlib.suppress(SystemExit):
        train("toy", groups_of(network), schedule, loss_at, save)


def test_a_team_that_is_killed_learns_what_one_process_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "WORK", tmp_path)  # put back after the test
    found = []
    for folder, sittings in (("alone", [(None, 1)]), ("together", [(5, 2), (None, 1)])):
        (tmp_path / folder).mkdir()
        for stop_before, processes in sittings:
            team.run(functools.partial(learn, tmp_path / folder, stop_before), processes)
        found.append(torch.load(tmp_path / folder / "network.pt", weights_only=True))
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8), (6, 12), (6, 40), (40, 6)])
def test_muon_steps_as_torchs_own_does_in_any_precision(shape, monkeypatch):
    for precise in (False, True):
        monkeypatch.setattr("training.muon.multiplies_halves", lambda precise=precise: not precise)
        torch.manual_seed(0)
        ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
        found = Muon([{"params": [ours]}], lr=0.02, weight_decay=0.01)
        known = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for _ in range(3):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            found.step()
            known.step()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
        singular = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
        assert 0.5 < singular.min() <= singular.max() < 1.5


@pytest.mark.parametrize("depth", [0, 3])
def test_batches_come_in_order_from_the_step_that_a_stage_resumes_at(depth):
    prepared = []

    def prepare_step(step: int) -> str:
        prepared.append(step)
        return f"batch {step}"

    ahead = Ahead(prepare_step, steps=9, depth=depth)
    assert [ahead(step) for step in range(4, 9)] == [f"batch {step}" for step in range(4, 9)]
    assert prepared == list(range(4, 9))


def test_a_square_picture_teaches_upright_and_lying_ones_too():
    latents = torch.empty(2, 16, 16, 16)
    shapes = [tuple(window_at(step).of(latents).shape[-2:]) for step in range(300)]
    assert set(shapes) == {(16, 16), (16, 12), (12, 16)}
    assert shapes.count((16, 16)) > 200


def test_captions_keep_the_trigger_word_behind_the_class_word_and_leave_things_unsaid():
    rng = random.Random(0)
    identity, photo, _ = describe(0)
    found = [caption(identity, photo, "photo", rng, trigger=True) for _ in range(400)]
    for text in found:
        words = text.replace(",", " ").split()
        assert words[words.index(TRIGGER) - 1] in CLASS_WORDS[identity.gender], text
    bare = [text for text in found if photo.clothes not in text and photo.background not in text]
    assert 0.15 < len(bare) / len(found) < 0.4


@pytest.mark.parametrize("expression", ["laughing", "serious", "surprised"])
def test_a_caption_that_names_no_expression_is_of_a_smile(expression):
    rng = random.Random(0)
    identity, photo, _ = describe(0)
    other, smile = dataclasses.replace(photo, expression=expression), dataclasses.replace(photo, expression="smiling")
    assert all(expression in caption(identity, other, "photo", rng, trigger=True) for _ in range(200))
    named = ["smiling" in caption(identity, smile, "photo", rng, trigger=True) for _ in range(200)]
    assert 40 < sum(named) < 160


def test_the_decoder_gets_the_latents_that_were_drawn_so_far_each_with_its_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(drawn, "DRAWN_DIR", tmp_path)
    asked = drawn.wanted_pictures()
    for index in (asked[5], asked[2]):
        torch.save(torch.full((1, 16, 2, 2), float(index)), drawn.file_of(index))
        assert describe(index)[2] not in UNREADABLE
    indices, latents = drawn.load_drawn()
    assert indices == [asked[2], asked[5]]
    assert latents[:, 0, 0, 0].tolist() == indices


def test_figures_of_the_training_set_stand_nearly_still_and_are_the_photos_otherwise():
    for index in range(0, 400, PICTURES_EACH):
        photo, still = draw_photo(index // PICTURES_EACH, 0), describe(index)[1]
        pose = {"shift_x": still.shift_x, "shift_y": still.shift_y, "scale": still.scale, "tilt": still.tilt}
        assert dataclasses.replace(photo, **pose) == still
        assert abs(still.shift_x) <= 0.5
        assert abs(still.tilt) <= 0.6
        assert abs(still.scale - 1) <= 0.006


def test_photos_that_are_disturbed_have_no_edges_that_were_not_there():
    photos = torch.rand(8, 3, 1, 1).expand(-1, -1, 64, 64)
    moved = disturbed(photos, random.Random(0))
    assert moved.std((2, 3)).max() < 1e-6
    assert (moved - photos).abs().max() > 0.05  # re-lit


def test_an_autoencoder_draws_smaller_latents_as_it_drew_larger_ones_and_encodes_as_before():
    torch.manual_seed(0)
    before = AutoencoderKL(block_out_channels=[4], norm_num_groups=2)
    larger = enlarged(before, 1.25)
    pictures, latents = torch.rand(1, 3, 8, 8), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(larger.decode(latents).sample, before.decode(1.25 * latents).sample)
    assert torch.equal(larger.encode(pictures).latent_dist.mean, before.encode(pictures).latent_dist.mean)


def test_a_wider_autoencoder_computes_the_same_and_its_twins_learn_different_things():
    torch.manual_seed(0)
    sizes = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    before = AutoencoderKL(**sizes, block_out_channels=[4, 6], layers_per_block=1, norm_num_groups=2)
    wide = widened(before, (8, 6))
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in before.parameters())
    pictures = torch.rand(2, 3, 16, 16)
    latents = before.encode(pictures).latent_dist.mean
    torch.testing.assert_close(wide.encode(pictures).latent_dist.mean, latents, rtol=1e-4, atol=1e-5)
    drawn = wide.decode(latents).sample
    torch.testing.assert_close(drawn, before.decode(latents).sample, rtol=1e-4, atol=1e-5)
    (drawn - pictures).square().mean().backward()
    one, other = wide.decoder.conv_norm_out.weight.grad.unflatten(0, (-1, 2)).unbind(1)
    assert (one - other).abs().min() > 0


def test_a_sharper_autoencoder_is_judged_by_the_discriminator_that_judged_the_decoder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    decoder, judge = nn.Linear(2, 2), PatchDiscriminator()
    state = tmp_path / "decoder.state.pt"
    monkeypatch.setattr(sharper, "DECODER_STATE", state)
    fresh, judged = PatchDiscriminator(), PatchDiscriminator()
    before = [parameter.clone() for parameter in fresh.parameters()]
    sharper.adopt_judgement(fresh)
    assert all(map(torch.equal, fresh.parameters(), before))
    torch.save({"parameters": [*decoder.state_dict().values(), *judge.state_dict().values()]}, state)
    sharper.adopt_judgement(judged)
    pictures = torch.rand(1, 3, 32, 32)
    assert torch.equal(judged(pictures)[-1], judge(pictures)[-1])


def test_the_hard_pictures_are_all_those_in_hard_styles():
    of_people = 64 * PICTURES_EACH
    hard = set(sharper.hard_pictures(of_people))
    assert {describe(index)[2] for index in hard} == set(sharper.HARD_STYLES)
    assert not any(describe(index)[2] in sharper.HARD_STYLES for index in set(range(of_people)) - hard)


@pytest.mark.parametrize("name", ["photomaker", "photomaker-style"])
def test_the_base_is_polished_below_an_adapter_that_stays(name):
    torch.manual_seed(0)
    base, pipe = UNet2DConditionModel.from_pretrained(NANO / "base/unet"), load_nano(name=name)
    polished, served = adapted(base, pipe), pipe.text2img.unet
    sizes = {"text_embeds": torch.randn(1, 96), "time_ids": torch.tensor([[128.0, 128, 0, 0, 128, 128]])}
    seen = torch.randn(1, 16, 16, 16), 500, torch.randn(1, 77, 192)
    drawn = polished(*seen, added_cond_kwargs=sizes).sample
    torch.testing.assert_close(drawn, served(*seen, added_cond_kwargs=sizes).sample, rtol=1e-3, atol=1e-4)
    drawn.square().mean().backward()
    with torch.no_grad():
        for ours, theirs in zip(base.parameters(), served.parameters(), strict=True):
            ours -= ours.grad
            theirs -= ours.grad
        after = served(*seen, added_cond_kwargs=sizes).sample
        torch.testing.assert_close(polished(*seen, added_cond_kwargs=sizes).sample, after, rtol=1e-3, atol=1e-4)
    assert (after - drawn).abs().max() > 1e-3


def test_clean_pictures_pass_and_smeared_ones_do_not():
    reader = load_smear_reader()
    chosen = list(cases(8))
    for side in (96, 128):
        clean = renders(chosen, side)
        smeared = [picture.filter(ImageFilter.GaussianBlur(1.5 * side / 128)) for picture in clean]
        assert passing(reader, clean) > 0.85
        assert passing(reader, smeared) < 0.15
        assert distance(reader, smeared, clean) > distance(reader, renders(chosen[::-1], side), clean) + 5


@pytest.mark.parametrize("look", [*STYLES, LORA_STYLE])
def test_every_look_shows_the_colour_of_the_eyes(look):
    """Ink around an iris of a few pixels must leave some of it."""
    identity, photo, _ = next(
        described
        for described in map(describe, range(1000))
        if described[1].expression == "serious" and described[0].glasses == "none"
    )
    colours = ("brown", "blue", "green")
    drawn_with = {
        eyes: np.asarray(render_in_style(dataclasses.replace(identity, eyes=eyes), photo, look), dtype=int)
        for eyes in colours
    }
    for one, other in itertools.combinations(colours, 2):
        difference = np.abs(drawn_with[one] - drawn_with[other]).max(-1)
        assert (difference > 20).sum() > 30, (one, other)  # of 255; pixels of both eyes
