"""``photomaker``: pictures from the command line, the demonstration, and checkpoints fetched ahead of time."""

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from photomaker.cores import WAIT_QUIETLY
from photomaker.deployment import VARIABLE, BasePipeline, Deployment, DeploymentError, package_folder
from photomaker.errors import RequestError
from photomaker.method.styles import DEFAULT_STYLE, STYLES

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
errors = Console(stderr=True)

SMALL_ARCHIVE = (".zip", ".tar", ".tar.gz", ".tgz")

DeploymentFile = Annotated[
    Path | None,
    typer.Option(
        "--deployment",
        envvar=VARIABLE,
        help="A deployment file such as fal.toml. Default: the small checkpoint that the package carries.",
    ),
]


@app.command()
def generate(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photos, folders or archives.", exists=True)],
    prompt: Annotated[str, typer.Option(help='With "img" directly after the class word: "a photo of a man img".')],
    base_pipeline: Annotated[str, typer.Option(help=", ".join(get_args(BasePipeline)))] = "photomaker",
    initial_image: Annotated[Path | None, typer.Option(exists=True, help="Start from this picture.")] = None,
    initial_image_strength: Annotated[float, typer.Option(min=0, max=1)] = 0.5,
    style: Annotated[str, typer.Option(help=", ".join(STYLES))] = DEFAULT_STYLE,
    negative_prompt: str = "",
    num_inference_steps: Annotated[int, typer.Option(min=20, max=100)] = 50,
    style_strength: Annotated[int, typer.Option(min=15, max=50)] = 20,
    num_images: Annotated[int, typer.Option(min=1, max=4)] = 1,
    guidance_scale: Annotated[float, typer.Option(min=0.1, max=10)] = 5.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same pictures.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("out"),
    deployment: DeploymentFile = None,
) -> None:
    """Make pictures of the person in the photos."""
    if style not in STYLES:
        raise typer.BadParameter(f"one of {', '.join(STYLES)}", param_hint="--style")
    settings = opened(deployment)
    quiet()
    from photomaker.service import Listener, Request, Service, draw_seed
    from photomaker.weights.checkpoints import CheckpointError

    try:
        with console.status("loading the checkpoint"):
            service = Service.start(settings, log=lambda line: None)
        request = Request(
            prompt=prompt,
            photos=archived(photos),
            base_pipeline=base_pipeline,
            initial_image=None if initial_image is None else initial_image.read_bytes(),
            initial_image_strength=initial_image_strength,
            style=style,
            negative_prompt=negative_prompt,
            num_inference_steps=num_inference_steps,
            style_strength=style_strength,
            num_images=num_images,
            guidance_scale=guidance_scale,
            seed=draw_seed() if seed is None else seed,
        )
        output.mkdir(parents=True, exist_ok=True)
        with progress() as bar:
            task = bar.add_task("making pictures", total=None)
            listener = Listener(
                log=lambda line: bar.console.print(escape(line), style="dim"),
                on_step=lambda done, steps: bar.update(task, completed=done, total=steps),
            )
            saved = []
            for number, picture in enumerate(service.generate(request, listener)):
                saved.append(output / f"{request.seed}-{number}.png")
                picture.image.save(saved[-1])
    except RequestError as error:
        raise failed(f"{error.field}: {error.message}") from None
    except (CheckpointError, DeploymentError, OSError) as error:
        raise failed(str(error)) from None
    for path in saved:
        console.print(f"saved [bold]{escape(str(path))}[/bold]")
    console.print(f"The same again: --seed {request.seed}")


@app.command()
def demo(
    archive: Annotated[Path | None, typer.Argument(exists=True, help="Photos of your own, zipped.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("out/demo"),
) -> None:
    """Run the endpoint's documented Python example through a local platform, on the example photos."""
    from photomaker.demo import through_local_platform

    application = Path("photomaker_app.py")
    if not application.is_file():
        raise failed("photomaker_app.py is not here: run the demonstration in the project's folder")
    nano = package_folder() / "nano"
    os.environ.setdefault(VARIABLE, str(nano / "fal.toml"))
    archive = archive or min((nano / "examples").glob("*.zip"))
    console.print(f"The person: [bold]{escape(os.path.relpath(archive))}[/bold]")
    code = through_local_platform(application, archive, output)
    if code:
        raise typer.Exit(code)
    console.print(
        f"The pictures are in [bold]{escape(str(output))}[/bold]. Next:\n"
        "  make serve                          the same endpoint for your own client code\n"
        "  .venv/bin/photomaker generate ...   other people, prompts and styles\n"
        "  make deploy                         real weights on fal"
    )


@app.command()
def fetch(deployment: DeploymentFile = None) -> None:
    """Download a deployment's checkpoints and face models to this machine ahead of time, and prepare them."""
    settings = opened(deployment)
    quiet()
    from photomaker.photos.face_models import face_models
    from photomaker.weights import prepared
    from photomaker.weights.checkpoints import CheckpointError

    try:
        with downloads() as bar:
            tasks: dict[str, TaskID] = {}

            def told(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bar.add_task(name)
                bar.update(tasks[name], completed=done, total=total)

            prepared.fetch(settings, log=lambda line: bar.console.print(escape(line), style="dim"), progress=told)
        if settings.faces == "crop":
            face_models(settings)
    except CheckpointError as error:
        raise failed(str(error)) from None
    console.print("Every checkpoint of the deployment is here.")


def opened(path: Path | None) -> Deployment:
    """The deployment to use: the one named, else the small checkpoint's."""
    chosen = path or package_folder() / "nano" / "fal.toml"
    if path is None:
        console.print(
            "Using the small checkpoint, which draws avatars. Real weights: --deployment fal.toml", style="dim"
        )
    try:
        return Deployment.read(chosen)
    except DeploymentError as error:
        raise failed(str(error)) from None


def archived(paths: Iterable[Path]) -> bytes:
    """Photos, folders and archives as the bytes of one archive.

    Raises:
        typer.BadParameter: An archive stands beside other paths.
    """
    paths = list(paths)
    if len(paths) == 1 and paths[0].is_file():
        return paths[0].read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, path in enumerate(paths):
            if path.name.lower().endswith(SMALL_ARCHIVE):
                raise typer.BadParameter(f"{path}: an archive goes alone, without further photos")
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                    name = f"{number}/{name}" if name in archive.namelist() else name
                    archive.writestr(name, file.read_bytes())
    return packed.getvalue()


def progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def downloads() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console
    )


def quiet() -> None:
    """Keep the libraries' advice about their own optional parts out of the terminal."""
    os.environ.update(WAIT_QUIETLY | os.environ)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def failed(message: str) -> typer.Exit:
    errors.print(f"[red]{escape(message)}[/red]")
    return typer.Exit(1)
