"""The trained checkpoint, end to end: what goes in as photos comes out as pictures of that person."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from benchmarks.nano_sizes import shown
from photomaker.deployment import Deployment, package_folder
from photomaker.method.styles import NO_STYLE, STYLES, styled
from photomaker.weights.prepared import open_pipelines
from training.cases import SCENES, Case, cases, generate, photos_of, renders, side_of, through_autoencoder
from training.identity import draw_identity
from training.judge import load_judge
from training.scale import Scale

PROMPT = "photo of a {} img wearing a blue hoodie, smiling, on a beach"
STEPS = 20
FIRST, SECOND = 1_001_005, 1_001_002
PALE, DARK = 1_001_006, 1_001_016


def person(number: int) -> Case:
    return Case(number, draw_identity(number), SCENES[0], seed=7)


def picture(nano, who: Case, **options) -> Image.Image:
    """One picture of a person; the seed is always the same."""
    prompt = options.pop("prompt", PROMPT.format(who.identity.gender))
    options = {"num_inference_steps": STEPS, "generator": torch.Generator().manual_seed(who.seed)} | options
    (made,) = nano(prompt, photos_of(who, 4, side_of(nano)), **options)
    return made


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures' pixels, of 255."""
    return float(np.asarray(ImageChops.difference(first, second), dtype=float).mean())


@pytest.fixture(scope="module")
def usual(nano):
    return picture(nano, person(FIRST))


def test_a_picture_has_the_size_of_the_base(usual):
    assert usual.size == (128, 128)


def test_its_configurations_do_not_say_where_it_was_trained():
    for config in (package_folder() / "nano" / "base").rglob("*.json"):
        assert "_name_or_path" not in config.read_text(), config


def test_the_autoencoder_keeps_what_is_drawn(nano):
    """Of people whom no stage has seen."""
    chosen = list(cases(2))
    wanted, made = (
        np.stack([np.asarray(image, dtype=float) for image in images])
        for images in (renders(chosen, side_of(nano)), through_autoencoder(nano, chosen))
    )
    assert 10 * math.log10(255**2 / np.square(made - wanted).mean()) > 31  # dB


def test_the_same_seed_gives_the_same_bytes(nano, usual):
    assert picture(nano, person(FIRST)).tobytes() == usual.tobytes()


def test_another_seed_gives_another_picture(nano, usual):
    assert difference(picture(nano, person(FIRST), generator=torch.Generator().manual_seed(8)), usual) > 3


def test_different_people_give_different_pictures(nano, usual):
    assert difference(picture(nano, person(SECOND), prompt=PROMPT.format(person(FIRST).identity.gender)), usual) > 3


def test_a_later_merge_changes_the_picture(nano, usual):
    early, late = (picture(nano, person(FIRST), style_strength=strength) for strength in (15, 50))
    assert difference(early, late) > 1
    never = picture(nano, person(FIRST), start_merge_step=STEPS)
    assert difference(late, never) < difference(early, never)  # the later, the nearer to the text alone


def test_the_negative_prompt_has_effect(nano, usual):
    assert difference(picture(nano, person(FIRST), negative_prompt="beach, blurry, low quality"), usual) > 1


def test_guidance_has_effect(nano, usual):
    assert difference(picture(nano, person(FIRST), guidance_scale=1), usual) > 1


def test_image_to_image_keeps_the_composition(nano):
    initial = photos_of(person(SECOND), 1, side_of(nano))[0]
    made = picture(nano, person(FIRST), prompt="photo of a woman img", initial_image=initial)
    fresh = picture(nano, person(FIRST), prompt="photo of a woman img")
    assert difference(made, initial) < difference(fresh, initial)


def cheeks(image: Image.Image) -> float:
    """How light the middle of the face is, of 255."""
    return float(np.asarray(image.convert("L"), dtype=float)[61:80, 45:83].mean())


@pytest.mark.slow
def test_every_size_that_is_served_shows_the_person(nano):
    """As benchmarks.nano_sizes measures it, on fewer pictures."""
    usual, *further = Deployment.read(package_folder() / "nano" / "fal.toml").served_sizes
    assert usual == (side_of(nano), side_of(nano))
    assert further == [(96, 128), (128, 96)]
    scale, chosen = Scale(load_judge()), list(cases(1))
    for size in further:
        pictures = generate(nano, chosen, STEPS, size=size)
        assert {picture.size for picture in pictures} == {size}
        found = shown(pictures, chosen, scale, side_of(nano))
        assert {name: found[name] for name in ("skin", "hair_colour")} == {"skin": 1, "hair_colour": 1}, size
        assert found["clothes"] >= 0.75, size  # one of four may miss


@pytest.mark.slow
def test_styles_change_the_look_and_keep_the_person(nano):
    """Somebody pale and somebody dark stay so beside each other, whatever the style; most styles show at a glance."""
    people = person(PALE), person(DARK)
    assert [who.identity.skin for who in people] == ["pale", "dark"]
    made = {}
    for name in STYLES:
        prompts = [styled(name, PROMPT.format(who.identity.gender), "") for who in people]
        made[name] = [
            picture(nano, who, prompt=prompt, negative_prompt=negative)
            for who, (prompt, negative) in zip(people, prompts, strict=True)
        ]
        pale, dark = map(cheeks, made[name])
        assert pale > dark + 20, name
    plain = made[NO_STYLE][0]
    visible = [name for name in STYLES if difference(made[name][0], plain) > 12]
    assert len(visible) >= 5, visible


@pytest.mark.slow
def test_the_two_pipelines_that_its_deployment_serves(tmp_path):
    """photomaker-style shows at a glance, and keeps the person."""
    deployment = Deployment.read(package_folder() / "nano" / "fal.toml").model_copy(update={"cache_dir": str(tmp_path)})
    served = open_pipelines(deployment, log=print)
    assert set(served) == {"photomaker", "photomaker-style"}
    usual, painted = ([picture(pipe, person(who)) for who in (PALE, DARK)] for pipe in served.values())
    assert all(difference(one, other) > 12 for one, other in zip(usual, painted, strict=True))
    assert cheeks(painted[0]) > cheeks(painted[1]) + 20


@pytest.mark.slow
def test_pictures_look_like_the_person(nano):
    """Eight people in two scenes each: well above what the text alone gives."""
    chosen = [case for case in cases(8) if case.scene in SCENES[:2]]
    made = [picture(nano, case, prompt=case.scene.prompt.format(case.identity.gender)) for case in chosen]
    found = Scale(load_judge()).accuracy(made, chosen)
    assert found["hair_colour"] > 0.7  # chance 0.13
    assert found["skin"] > 0.8  # chance 0.25
    assert found["hair_style"] > 0.6  # chance 0.17
    assert found["glasses"] > 0.8  # chance 0.4
    assert found["eyes"] > 0.7  # chance 0.3
    assert found["background"] > 0.8  # chance 0.1
