"""The command line, as typed."""

import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from photomaker.cli import app
from photomaker.deployment import VARIABLE
from photomaker.request import Picture
from tests.archives import PHOTOS, photos

HERE = Path(__file__).parent
GENERATE = ["generate", "--deployment", str(HERE / "deployment.toml"), "--num-inference-steps", "20"]
PROMPT = ["--prompt", "a man img"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


def test_wherever_the_photos_lie_and_however_old_they_are(tmp_path: Path) -> None:
    for number, photo in enumerate(PHOTOS[:2]):
        folder = tmp_path / ".hidden" / str(number)
        folder.mkdir(parents=True)
        (folder / "me.png").write_bytes(photo.read_bytes())
        os.utime(folder / "me.png", (0, 0))
    sources = [str(tmp_path / ".hidden" / number / "me.png") for number in "01"]
    for given in (sources, [str(tmp_path / ".hidden")]):
        code, output = run(*GENERATE, *given, *PROMPT, "--seed", "5", "-o", str(tmp_path / "out"))
        assert code == 0, output


@pytest.mark.parametrize("form", ["photos", "folder", "archive"])
def test_photos_in_every_form_make_the_same_pictures(form: str, tmp_path: Path) -> None:
    (tmp_path / "photos.zip").write_bytes(photos(len(PHOTOS)))
    sources = {
        "photos": [str(photo) for photo in PHOTOS],
        "folder": [str(PHOTOS[0].parent)],
        "archive": [str(tmp_path / "photos.zip")],
    }[form]
    options = ["--num-images", "2", "--seed", "5", "-o", str(tmp_path / "out")]
    code, output = run(*GENERATE, *sources, *PROMPT, *options)
    assert code == 0, output
    saved = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in saved] == ["5-0.png", "5-1.png"]
    with Image.open(saved[0]) as picture:
        assert picture.size == (64, 64)
    assert "--seed 5" in output


@pytest.mark.slow
def test_without_a_deployment_the_package_s_own_checkpoint_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    person = HERE.parent / "src" / "photomaker" / "nano" / "examples" / "bea"
    code, output = run("generate", str(person), "--prompt", "photo of a woman img", "-o", str(tmp_path))
    assert code == 0, output
    (saved,) = tmp_path.glob("*.png")
    with Image.open(saved) as picture:
        assert picture.size == (128, 128)


def test_an_initial_image_and_a_style(tmp_path: Path) -> None:
    options = ["--initial-image", str(HERE / "golden" / "initial.png"), "--style", "Line art", "-o", str(tmp_path)]
    code, output = run(*GENERATE, str(PHOTOS[0]), *PROMPT, *options)
    assert code == 0, output
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_size_format_previews_and_photos_beside_an_archive(tmp_path: Path) -> None:
    (tmp_path / "more.zip").write_bytes(photos(2))
    out = tmp_path / "out"
    options = ["--size", "64x96", "--format", "webp", "--watch", "--seed", "5", "-o", str(out)]
    code, output = run(*GENERATE, str(tmp_path / "more.zip"), str(PHOTOS[2]), *PROMPT, *options)
    assert code == 0, output
    names = ["5-0-step-005.jpg", "5-0-step-010.jpg", "5-0-step-015.jpg", "5-0.webp"]
    assert sorted(path.name for path in out.iterdir()) == names
    with Image.open(out / "5-0.webp") as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 96))


def test_each_picture_s_likeness_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one: the tests' small network draws no faces."""
    drawn = Image.new("RGB", (8, 8))
    pictures = [Picture(drawn, compare=lambda _: 0.534), Picture(drawn), Picture(drawn, withheld=True)]
    monkeypatch.setattr("photomaker.service.Service.generate", lambda *_: iter(pictures))
    code, output = run(*GENERATE, str(PHOTOS[0]), *PROMPT, "--seed", "5", "-o", str(tmp_path))
    assert code == 0, output
    said = [line.rpartition("5-")[2] for line in output.replace(" saved", "\nsaved").splitlines() if "saved" in line]
    assert said[0] == "0.png, likeness 0.53"
    assert said[1] == "1.png"
    assert said[2].startswith("2.png, withheld")


def test_inspect(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(PHOTOS[1].read_bytes()[:700])
    deployment = ["--deployment", str(HERE / "deployment.toml")]
    code, output = run("inspect", *deployment, str(PHOTOS[0]), str(PHOTOS[1]), *PROMPT)
    assert code == 0, output
    assert PHOTOS[0].name in output
    assert 'The class word is "man"' in output
    code, output = run("inspect", *deployment, str(PHOTOS[0]), str(tmp_path / "torn.png"), "--prompt", "a man")
    assert code == 1
    assert "no trigger word" in output
    assert "torn.png" in output
    assert PHOTOS[0].name in output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([str(PHOTOS[0]), "--prompt", "a man"], "no trigger word"),
        ([str(HERE / "endpoint.md"), *PROMPT], "image_archive_url"),
        ([str(HERE / "missing.zip"), *PROMPT], "missing.zip"),
        ([str(PHOTOS[0]), *PROMPT, "--style", "Baroque"], "Neonpunk"),
        ([str(PHOTOS[0]), *PROMPT, "--size", "huge"], "square_hd"),
        ([str(PHOTOS[0]), *PROMPT, "--size", "72x64"], "64 x 64"),
        ([str(PHOTOS[0]), *PROMPT, "--format", "gif"], "webp"),
        ([str(PHOTOS[0]), *PROMPT, "--num-images", "5"], "less than or equal to 4"),
        ([str(PHOTOS[0]), *PROMPT, "--base-pipeline", "sdxl"], "photomaker-style"),
        ([str(PHOTOS[0]), *PROMPT, "--deployment", str(HERE / "endpoint.md")], "not a TOML file"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(arguments: list[str], hint: str, tmp_path: Path) -> None:
    code, output = run(*GENERATE, *arguments, "-o", str(tmp_path))
    assert code in (1, 2)
    assert hint in output
    assert "Traceback" not in output


def test_fetch_prepares_a_deployment(tmp_path: Path) -> None:
    code, output = run("fetch", "--deployment", str(HERE / "deployment.toml"))
    assert code == 0, output
    assert "Every checkpoint" in output
    assert any((tmp_path / "cache").rglob("*.flashpack"))
