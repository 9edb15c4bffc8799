"""fal.toml, typed: one deployment's machine, scaling, pipelines and switches.

A deployment file is read where it is written, on the laptop that deploys; a mistake in it is reported there,
with the file and the key. What a runner needs of it travels as plain data.
"""

import os
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}

VARIABLE = "PHOTOMAKER_DEPLOYMENT"
PACKAGE = "package:"  # a path inside the installed photomaker package, wherever that is
RUNNERS_DISK = "/data"  # exists on a runner, not where a deployment is written
BasePipeline = Literal["photomaker", "photomaker-style"]  # as the endpoint names them

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILE = re.compile(r"[\w.-]+/[\w.-]+/[\w./-]+")
NOWHERE = re.compile(r"(?!)")  # for what the hub does not have


class DeploymentError(Exception):
    """The deployment file cannot be used as it is; the message names the file and the key."""


def checked(source: str, info: ValidationInfo, hub: re.Pattern[str]) -> str:
    """A checkpoint as the runner will look for it: a package path, an absolute path, or a hub id."""
    if on_runner(source):
        return source
    if source.startswith(PACKAGE):
        if not Path(on_disk(source)).exists():
            raise ValueError(f"there is no {on_disk(source)}")
        return source
    folder = Path((info.context or {}).get("folder", "."))
    path = (folder / source).resolve()
    if path.exists():
        package = package_folder()
        if path.is_relative_to(package):
            return PACKAGE + path.relative_to(package).as_posix()
        return str(path)
    if hub is NOWHERE or source.startswith((".", "/")) or (folder / Path(source).parts[0]).is_dir():
        raise ValueError(f"there is no {path}")  # the hub's names look alike, but a folder that is here is meant
    if not hub.fullmatch(source):
        raise ValueError(f"there is no {path}, and {source!r} is no name on the hub")
    return source


def checked_base(source: str, info: ValidationInfo) -> str:
    try:
        return checked(source, info, HUB_ID)
    except ValueError:
        return checked(source, info, HUB_FILE)  # a single-file checkpoint inside a repository


def checked_folder(source: str, info: ValidationInfo) -> str:
    return checked(source, info, HUB_ID)


def checked_file(source: str, info: ValidationInfo) -> str:
    return checked(source, info, HUB_FILE)


def checked_own(source: str, info: ValidationInfo) -> str:
    return checked(source, info, NOWHERE)


def known_scheduler(name: str) -> str:
    if name not in SCHEDULERS:
        raise ValueError(f"{name!r} is none of {', '.join(sorted(SCHEDULERS))}")
    return name


Base = Annotated[str, Field(min_length=1), AfterValidator(checked_base)]
Folder = Annotated[str, Field(min_length=1), AfterValidator(checked_folder)]
OwnFolder = Annotated[str, Field(min_length=1), AfterValidator(checked_own)]
File = Annotated[str, Field(min_length=1), AfterValidator(checked_file)]
Scheduler = Annotated[str, AfterValidator(known_scheduler)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def parsed_size(size: Any) -> Any:
    """A size as the file writes it, "832x1216": (width, height)."""
    if not isinstance(size, str):
        return size
    match = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", size)
    if match is None:
        raise ValueError(f'{size!r} is no size such as "832x1216": width, then height, in pixels')
    return int(match[1]), int(match[2])


Side = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]
Size = Annotated[tuple[Side, Side], BeforeValidator(parsed_size)]


def of_single_file(sha256: str | None, info: ValidationInfo) -> str | None:
    base = info.data.get("base", "")
    if sha256 is not None and (HUB_ID.fullmatch(base) or Path(on_disk(base)).is_dir()):
        raise ValueError(f"{base} is a folder; its `revision` on the hub can be pinned, a sha256 is a single file's")
    return sha256


def of_downloaded_pack(sha256: str | None, info: ValidationInfo) -> str | None:
    if sha256 is not None and info.data.get("face_root") is not None:
        raise ValueError("it pins the zip of a pack of InsightFace's own, and face_root has none")
    return sha256


class Table(BaseModel):
    """A table of the file: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LoRASettings(Table):
    path: File
    weight: float = Field(default=1.0, ge=-2, le=2)
    revision: str | None = None
    sha256: Sha256 | None = None


class PipelineSettings(Table):
    """One value of ``base_pipeline``: a base, an adapter, what is fused with them, and the scheduler.

    ``config``, a diffusers folder or hub id, tells how a single-file base is configured; None: as SDXL base 1.0
    on the hub. ``guidance_stop`` is the part of the steps that see the person after which guidance stops; 1: never, as
    published.
    ``revision`` pins the commit of the base on the hub, ``base_sha256`` the content of a single-file base;
    ``adapter_revision`` and ``adapter_sha256`` the adapter's.
    """

    base: Base
    adapter: File
    config: Folder | None = None
    scheduler: Scheduler | None = None
    guidance_stop: float = Field(default=1.0, ge=0, le=1)
    loras: tuple[LoRASettings, ...] = ()
    revision: str | None = None
    base_sha256: Annotated[Sha256 | None, AfterValidator(of_single_file)] = None
    adapter_revision: str | None = None
    adapter_sha256: Sha256 | None = None


class InferenceSettings(Table):
    """How the networks run; see the comments in fal.toml for what each costs and gives."""

    attention: Literal["sdpa", "flash", "cudnn", "math"] = "sdpa"
    channels_last: bool = False
    fuse_projections: bool = False
    compile: Literal["off", "regional", "whole"] = "off"
    compile_vae: bool = False
    compile_resnets: bool = False
    compile_mode: Literal["default", "max-autotune-no-cudagraphs"] = "default"
    project_prompts_once: bool = False
    cuda_graphs: Literal["off", "auto", "on"] = "off"
    early_steps: bool = True
    prepared: bool = True  # keep fused, cast weights on the runners' disk in the form that loads fastest

    @model_validator(mode="after")
    def switches_fit(self) -> Self:
        if self.compile_resnets and self.compile != "regional":
            raise ValueError('compile_resnets adds to compile = "regional", and to nothing else')
        if self.project_prompts_once:
            if not self.fuse_projections:
                raise ValueError("project_prompts_once needs fuse_projections = true")
            if self.compile == "whole" or self.cuda_graphs != "off":
                raise ValueError('project_prompts_once works with neither compile = "whole" nor cuda_graphs')
        return self


class AppSettings(Table):
    """fal.App's attributes, by their own names."""

    app_name: str = "photomaker"
    app_auth: Literal["private", "public", "shared"] = "private"
    machine_type: str | tuple[str, ...] = "GPU-H100"
    num_gpus: int = Field(default=1, ge=1)
    regions: tuple[str, ...] | None = None
    keep_alive: int = Field(default=300, ge=0)
    min_concurrency: int = Field(default=0, ge=0)
    max_concurrency: int = Field(default=2, ge=1)
    concurrency_buffer: int = Field(default=0, ge=0)
    scaling_delay: int | None = Field(default=None, ge=0)
    max_multiplexing: int = Field(default=1, ge=1)
    request_timeout: int = Field(default=600, ge=1)
    startup_timeout: int = Field(default=900, ge=1)
    termination_grace_period_seconds: int | None = Field(default=None, ge=1)
    secrets: tuple[str, ...] | None = None
    data_mounts: tuple[str, ...] | None = None

    def attributes(self) -> dict[str, Any]:
        """What to set on the class; tuples as the lists that fal expects, unset options left out."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self if value is not None}


class Deployment(Table):
    """One deployment, validated.

    Attributes:
        device: "cuda", "cpu", or "auto" (CUDA where there is a GPU).
        dtype: Of all weights.
        height, width: Of a picture whose request names no size, in pixels.
        sizes: Further ones that a request may name, (width, height); each is warmed up at the start.
        faces: "crop" finds the person and crops to the face; "off" passes photos on as they are.
        face_pack: InsightFace's model pack, by name.
        face_root: The folder that has ``models/NAME``; None: a store in ``cache_dir``, filled by InsightFace.
        face_pack_sha256: Of the pack's zip as InsightFace offers it; None: not checked.
        safety: "check" withholds pictures that a classifier flags; "off" returns all.
        safety_switch: Whether a request may switch the check off for itself, where its endpoint has such a field.
        allow_hosts: "host" or "host:port" entries that may be loopback or private addresses.
        cache_dir: Where checkpoints and prepared weights are kept; None: /data on a runner, else the user's cache.
        pipelines: What ``base_pipeline`` may name.
    """

    app: AppSettings = AppSettings()
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: Literal["float32", "float16", "bfloat16"] = "bfloat16"
    height: Side = 1024
    width: Side = 1024
    sizes: tuple[Size, ...] = Field(default=(), max_length=32)
    faces: Literal["crop", "off"] = "crop"
    face_pack: str = "buffalo_l"
    face_root: OwnFolder | None = None
    face_pack_sha256: Annotated[Sha256 | None, AfterValidator(of_downloaded_pack)] = None
    safety: Literal["check", "off"] = "check"
    safety_switch: bool = True
    allow_hosts: tuple[str, ...] = ()
    cache_dir: str | None = None
    inference: InferenceSettings = InferenceSettings()
    pipelines: dict[BasePipeline, PipelineSettings] = Field(min_length=1)

    @property
    def served_sizes(self) -> tuple[tuple[int, int], ...]:
        """Every (width, height) that a request may name, the usual one first."""
        return tuple(dict.fromkeys([(self.width, self.height), *self.sizes]))

    def allowed_hosts(self) -> frozenset[str]:
        """Hosts that may be private: the file's, PHOTOMAKER_ALLOW_HOSTS's, and the local platform's files."""
        listed = os.environ.get("PHOTOMAKER_ALLOW_HOSTS", "").split(",")
        local_files = urlsplit(os.environ.get("LOCALFAL_FILES", "")).netloc
        return frozenset(host for host in (*self.allow_hosts, *map(str.strip, listed), local_files) if host)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The deployment that a file describes.

        Raises:
            DeploymentError: The file is missing, is no TOML, or has a wrong, unknown or missing key.
        """
        path = Path(path)
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DeploymentError(f"{path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise DeploymentError(f"{path}: not a TOML file: {error}") from None
        try:
            return cls.model_validate(tables, context={"folder": path.parent})
        except ValidationError as error:
            raise DeploymentError("\n".join(described(path, error))) from None


def chosen_path(default: str | Path) -> Path:
    """The file that the environment variable PHOTOMAKER_DEPLOYMENT names, else the default one."""
    return Path(os.environ.get(VARIABLE) or default)


def described(path: Path, error: ValidationError) -> list[str]:
    """Each mistake as "file: table.key: what is wrong"."""
    lines = []
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"] if part != "[key]")
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            message = "there is no such key"
        lines.append(f"{path}: {key}: {message}")
    return lines


def package_folder() -> Path:
    return Path(str(resources.files("photomaker")))


def shared_disk() -> Path | None:
    """The disk that fal's runners share; None where this process is no runner of fal's.

    A runner is known by the name of its app, which fal gives to each
    (https://docs.fal.ai/documentation/development/environment-variables), not by a folder that any machine may have.
    """
    on_fal = "FAL_APP_NAME" in os.environ and "LOCALFAL_FILES" not in os.environ
    return Path(RUNNERS_DISK) if on_fal and os.access(RUNNERS_DISK, os.W_OK) else None


def on_runner(source: str) -> bool:
    """Whether the source is a path on the disk that runners share."""
    return source.startswith(RUNNERS_DISK + "/")


def on_disk(source: str) -> str:
    """The source as this machine finds it: package paths made absolute, the rest as it is."""
    if source.startswith(PACKAGE):
        return str(package_folder() / source.removeprefix(PACKAGE))
    return source
