"""The results as tables for docs/measurements.md."""

from typing import Any

from .measuring import shown

WAYS = ("stock", "compiled", "this_project", "bare_passes", "floor")


def table(card: str, rows: list[dict[str, Any]]) -> str:
    """Pictures first, then everything else in its order."""
    pictures = [row for row in rows if "this_project" in row["values"]]
    lines = [f"{card}; seconds, medians.", ""]
    if pictures:
        lines.append("| images | stock diffusers | compiled | this project | bare passes | floor | peak, GiB |")
        lines.append("|---|---:|---:|---:|---:|---:|---:|")
        for row in pictures:
            cells = [cell(row["values"].get(way)) for way in (*WAYS, "peak_gib")]
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["| | |", "|---|---|"]
    for row in rows:
        if row not in pictures:
            said = ", ".join(f"{key.replace('_', ' ')} {shown(value)}" for key, value in row["values"].items())
            lines.append(f"| {row['name']} | {said} |")
    return "\n".join(lines) + "\n"


def cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
