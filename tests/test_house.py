"""Imports run one way: a wing knows only those that it stands on."""

import ast
from pathlib import Path

import photomaker

SOURCE = Path(photomaker.__file__).parent
FOUNDATION = {"errors", "deployment", "cores", "collector"}
STANDS_ON: dict[str, set[str]] = {
    "method": set(),
    "pictures": set(),
    "weights": {"method"},
    "photos": {"weights"},  # face models are fetched and locked as checkpoints are
}
WAYS_IN = {("method/pipeline.py", "weights")}  # PhotoMakerPipeline.from_pretrained, from inside its body


def imported(file: Path) -> set[tuple[str, bool]]:
    """The project's modules that a file imports, by first name, and whether that is at the top of the file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "photomaker":
            parts = (node.module or "").split(".")[1:2]
            for name in parts or [alias.name for alias in node.names]:
                found.add((name, node in tree.body))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("photomaker."):
                    found.add((alias.name.split(".")[1], node in tree.body))
    return found


def test_wings_know_only_what_they_stand_on() -> None:
    wrong = []
    for wing, below in STANDS_ON.items():
        files = sorted((SOURCE / wing).glob("*.py"))
        assert len(files) > 1, wing
        for file in files:
            place = file.relative_to(SOURCE).as_posix()
            for name, at_the_top in imported(file):
                way_in = (place, name) in WAYS_IN and not at_the_top
                if name not in FOUNDATION | below | {wing} and not way_in:
                    wrong.append(f"{place} imports photomaker.{name}")
    assert wrong == []


def test_the_foundation_stands_on_nothing() -> None:
    assert {name for file in FOUNDATION for name, _ in imported(SOURCE / f"{file}.py")} == set()


def test_only_what_travels_with_the_app_knows_fal() -> None:
    """The product runs where fal is not installed: on fal's own runners, and in other people's programs."""
    knowing = set()
    for file in SOURCE.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if {name.split(".")[0] for name in names} & {"fal", "localfal"}:
                knowing.add(file.relative_to(SOURCE).as_posix())
    assert knowing <= {"schema.py", "studio_schema.py", "delivery.py", "demo.py"}


def test_the_platform_knows_no_product() -> None:
    platform = SOURCE.parent / "localfal"
    assert not any(
        "import photomaker" in f or "from photomaker" in f for f in map(Path.read_text, platform.rglob("*.py"))
    )
