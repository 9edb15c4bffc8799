"""Passes as CUDA graphs, recorded and replayed on the stand-in device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.weights import graphs, inference
from photomaker.weights.inference import accelerate, warm_up
from photomaker.weights.prepared import fetch, open_pipelines
from tests.gpu.device import Graph, stand_in
from tests.gpu.test_serving import PHOTOS, PROMPT, assert_same_pixels, deployment

pytestmark = pytest.mark.slow

BATCHES = (1, 2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of weights that a first start has prepared."""
    folder = tmp_path_factory.mktemp("first")
    fetch(deployment(folder, "cuda", dtype="bfloat16"), log=lambda _: None)
    return folder / "prepared"


@pytest.fixture
def cache(prepared: Path, tmp_path: Path) -> Path:
    """A cache with prepared weights, where nothing has been measured yet."""
    (tmp_path / "prepared").symlink_to(prepared)
    return tmp_path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(inference, "WARM_UPS", ((1, 5.0), (1, 0.0)))
    monkeypatch.setattr(inference, "WARM_UP_PHOTOS", (1,))
    monkeypatch.setattr(graphs, "PASSES", 1)
    monkeypatch.setattr(graphs, "TIMES", 1)
    yield
    inference.prefer_attention("sdpa")


def started(cache: Path, lines: list[str], **switches: Any) -> PhotoMakerPipeline:
    settings = deployment(cache, "cuda", dtype="bfloat16", inference={"attention": "sdpa", **switches})
    pipe = open_pipelines(settings, log=lambda _: None)["photomaker"]
    accelerate(pipe, settings.inference)
    warm_up(pipe, settings, lines.append)
    return pipe


def pictures(pipe: PhotoMakerPipeline) -> list[Image.Image]:
    made: list[Image.Image] = []
    for guidance in (5.0, 0.0):
        for initial_image in (None, PHOTOS[0]):
            generator = torch.Generator().manual_seed(1)
            options: dict[str, Any] = {"initial_image": initial_image, "initial_image_strength": 1.0}
            options |= {"num_inference_steps": 3, "start_merge_step": 1, "height": 64, "width": 64}
            result = pipe(PROMPT, PHOTOS[:1], guidance_scale=guidance, generator=generator, **options)
            made += result if isinstance(result, list) else []
    return made


def test_replayed_passes_make_the_same_pictures_and_later_starts_know_what_pays(cache: Path) -> None:
    with stand_in():
        lines: list[str] = []
        expected = pictures(started(cache, []))
        pipe = started(cache, lines, cuda_graphs="on")
        assert [line.split(":")[0] for line in lines[:-1]] == [f"batch {batch}" for batch in BATCHES]
        with patch.object(Graph, "replay", autospec=True, side_effect=Graph.replay) as replay:
            assert_same_pixels(pictures(pipe), expected)
            assert replay.call_count == 4 * 3  # every step of every request

        with patch("photomaker.weights.graphs.milliseconds", side_effect=AssertionError("measured again")):
            started(cache, lines, cuda_graphs="on")


@pytest.mark.parametrize(("plain", "graph", "used"), [(10.0, 7.0, True), (10.0, 9.9, False)])
def test_a_graph_is_used_where_it_measures_faster(plain: float, graph: float, used: bool, cache: Path) -> None:
    with stand_in(), patch("photomaker.weights.graphs.milliseconds", side_effect=[plain, graph] * len(BATCHES)):
        lines: list[str] = []
        pipe = started(cache, lines, cuda_graphs="auto")
        assert [line.endswith(": graph") for line in lines[:-1]] == [used] * len(BATCHES)
        with patch.object(Graph, "replay", autospec=True, side_effect=Graph.replay) as replay:
            pictures(pipe)
        assert bool(replay.call_count) == used
        again: list[str] = []
        started(cache, again, cuda_graphs="auto")  # from the file: nothing is left to measure
        assert again[:-1] == lines[:-1]


def test_a_batch_without_a_graph_runs_as_before(cache: Path) -> None:
    with stand_in():
        pipe = started(cache, [], cuda_graphs="on")
        two = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        options: dict[str, Any] = {"num_inference_steps": 2, "num_images": 2, "height": 64, "width": 64}
        result = pipe(PROMPT, PHOTOS[:1], generator=two, **options)
        assert len(result) == 2
