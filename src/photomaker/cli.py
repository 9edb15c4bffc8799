"""``photomaker``: pictures from the command line, the demonstration, and checkpoints fetched ahead of time."""

import os
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.progress import TaskID

from photomaker.collector import collector_at_rest
from photomaker.cores import WAIT_QUIETLY
from photomaker.deployment import VARIABLE, BasePipeline, Deployment, DeploymentError, package_folder
from photomaker.errors import RequestError
from photomaker.method.styles import DEFAULT_STYLE, STYLES
from photomaker.sizes import PRESETS
from photomaker.terminal import console, downloads, errors, progress, tables

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


class OutputFormat(Enum):
    """A picture's file format."""

    png = "png"
    jpeg = "jpeg"
    webp = "webp"


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
    num_inference_steps: Annotated[int, typer.Option(min=1, max=100)] = 50,
    style_strength: Annotated[int, typer.Option(min=15, max=50)] = 20,
    num_images: Annotated[int, typer.Option(min=1, max=4)] = 1,
    guidance_scale: Annotated[float, typer.Option(min=0.1, max=10)] = 5.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same pictures.")] = None,
    size: Annotated[str | None, typer.Option(help=f"832x1216, or {', '.join(PRESETS)}. Default: the usual.")] = None,
    output_format: Annotated[OutputFormat, typer.Option("--format")] = OutputFormat.png,
    safety: Annotated[bool, typer.Option(help="Whether the safety check looks at the pictures.")] = True,
    watch: Annotated[bool, typer.Option("--watch", help="Save a preview every few steps as well.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path("out"),
    deployment: DeploymentFile = None,
) -> None:
    """Make pictures of the person in the photos."""
    check_style(style)
    settings = opened(deployment)
    quiet()
    with collector_at_rest():
        from photomaker.pictures.encoding import encode
        from photomaker.service import Listener, Request, Service, draw_seed
        from photomaker.weights.checkpoints import CheckpointError

    try:
        with console.status("loading the checkpoint"):
            service = Service.start(settings, log=lambda line: None)
        request = Request(
            prompt=prompt,
            photos=files_of(photos),
            image_size=None if size is None else parsed(size),
            enable_safety_checker=safety,
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

            def save_previews(done: int, steps: int, previews: list[bytes]) -> None:
                for number, preview in enumerate(previews):
                    (output / f"{request.seed}-{number}-step-{done:03}.jpg").write_bytes(preview)

            listener = Listener(
                log=lambda line: bar.console.print(escape(line), style="dim"),
                on_step=lambda done, steps: bar.update(task, completed=done, total=steps),
                on_preview=save_previews if watch else None,
            )
            saved = []
            for number, picture in enumerate(service.generate(request, listener)):
                path = output / f"{request.seed}-{number}.{output_format.value}"
                path.write_bytes(encode(picture.image, output_format.value))
                saved.append((path, picture.withheld, picture.likeness))
    except RequestError as error:
        raise failed(f"{where(error.field, photos)}: {error.message}") from None
    except (CheckpointError, DeploymentError, OSError) as error:
        raise failed(str(error)) from None
    for path, withheld, likeness in saved:
        said = ", withheld" if withheld else "" if likeness is None else f", likeness {likeness:.2f}"
        console.print(f"saved [bold]{escape(str(path))}[/bold]{said}", soft_wrap=True)
    console.print(f"The same again: --seed {request.seed}")


@app.command()
def inspect(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO…", help="Photos, folders or archives.", exists=True)],
    prompt: Annotated[str, typer.Option(help='With "img" directly after the class word: "a photo of a man img".')],
    base_pipeline: Annotated[str, typer.Option(help=", ".join(get_args(BasePipeline)))] = "photomaker",
    style: Annotated[str, typer.Option(help=", ".join(STYLES))] = DEFAULT_STYLE,
    deployment: DeploymentFile = None,
) -> None:
    """Say what would be used of the photos and the prompt, and everything that is wrong with them."""
    check_style(style)
    settings = opened(deployment)
    quiet()
    with collector_at_rest():
        from photomaker.service import Listener, Request, Service
        from photomaker.weights.checkpoints import CheckpointError

    request = Request(prompt=prompt, photos=files_of(photos), base_pipeline=base_pipeline, style=style)
    try:
        with console.status("loading the checkpoint"):
            service = Service.start(settings, log=lambda line: None)
        report = service.inspect(request, Listener())
    except (CheckpointError, OSError) as error:
        raise failed(str(error)) from None
    for part in tables(report):
        console.print(part)
    for fault in report.faults:
        field = ".".join(str(part) for part in fault.loc[1:])
        errors.print(f"[red]{escape(where(field, photos))}: {escape(fault.msg)}[/red]", soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)


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
    console.print(f"The person: [bold]{escape(os.path.relpath(archive))}[/bold]", soft_wrap=True)
    code = through_local_platform(application, archive, output)
    if code:
        raise typer.Exit(code)
    console.print(
        f"The pictures are in [bold]{escape(str(output))}[/bold]. Next:\n"
        "  make serve                          the endpoint for your own code, and a\n"
        "                                      page for it: open the address it prints\n"
        "  .venv/bin/photomaker generate ...   other people, prompts and styles\n"
        "  make deploy                         real weights on fal"
    )


@app.command()
def fetch(deployment: DeploymentFile = None) -> None:
    """Download a deployment's checkpoints and face models to this machine ahead of time, and prepare them."""
    settings = opened(deployment)
    quiet()
    with collector_at_rest():
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


def files_of(paths: Iterable[Path]) -> bytes | dict[str, bytes]:
    """What was named: the only photo or archive, or each file by its name, with those of folders."""
    paths = list(paths)
    if len(paths) == 1 and paths[0].is_file():
        return paths[0].read_bytes()
    files: dict[str, bytes] = {}
    for number, path in enumerate(paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not file.name.startswith("."):
                name = file.relative_to(path).as_posix() if path.is_dir() else file.name
                files[f"{number}/{name}" if name in files else name] = file.read_bytes()
    return files


def where(field: str, paths: Iterable[Path]) -> str:
    """A field as the command line knows it: the name of the file that an entry of ``image_urls`` is."""
    head, _, number = field.partition(".")
    files = files_of(paths) if head == "image_urls" and number else b""
    return list(files)[int(number)] if isinstance(files, dict) and number else field


def parsed(size: str) -> str | tuple[int, int]:
    """A size as it is typed.

    Raises:
        typer.BadParameter: It is neither a shape's name nor two numbers.
    """
    width, cross, height = size.partition("x")
    if size in PRESETS:
        return size
    if not (cross and width.isdecimal() and height.isdecimal() and len(size) < 12):
        raise typer.BadParameter(f"{size!r}: such as 832x1216, or one of {', '.join(PRESETS)}", param_hint="--size")
    return int(width), int(height)


def check_style(style: str) -> None:
    if style not in STYLES:
        raise typer.BadParameter(f"one of {', '.join(STYLES)}", param_hint="--style")


def quiet() -> None:
    """Keep the libraries' advice about their own optional parts out of the terminal."""
    os.environ.update(WAIT_QUIETLY | os.environ)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")


def failed(message: str) -> typer.Exit:
    errors.print(f"[red]{escape(message)}[/red]", soft_wrap=True)
    return typer.Exit(1)
