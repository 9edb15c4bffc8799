"""Everything about this project on one card, at full size, in under ten minutes and without a network.

    make bench-gpu                              # here, where there is a card
    python -m benchmarks.gpu [--out FOLDER]     # the same by hand
    python -m benchmarks.gpu --pack FOLDER      # for a card elsewhere: carry the folder there, and run its run.sh

Random weights of full size are made from SDXL's and PhotoMaker's configurations (8 GB, and as much again prepared).
Stages run in processes of their own, in order of worth; what the limit cuts off costs only the rest:

    machine    the card's ceilings, and the floor that FLOPs set
    golden     the authors' latents, on this device
    starts     a first start: weights prepared, everything compiled
    pictures   a second start; stock diffusers, compiled diffusers, this project, bare passes; waits; parts
    variants   a pass of the UNet under each switch

Results: rows.jsonl as they come, results.json and table.md at the end. --small runs all of it on a CPU in a minute, on
the tests' checkpoint: it shows that the program runs, and nothing about a card.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

from photomaker.collector import collector_at_rest

from .measuring import Run, card, rows
from .pack import pack
from .report import table

STAGES = ("machine", "golden", "starts", "pictures", "variants")
ROOT = Path(__file__).parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench-gpu"))
    parser.add_argument("--work", type=Path, help="for weights and caches, 25 GB; default: OUT/work")
    parser.add_argument("--limit", type=float, default=570, help="seconds for everything (%(default)s)")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--pack", type=Path, metavar="FOLDER")
    parser.add_argument("--python", default="3.12", help="of the machine that --pack packs for (%(default)s)")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    if given.pack is not None:
        pack(given.pack, given.python)
        return
    out: Path = given.out.resolve()
    work: Path = (given.work or out / "work").resolve()
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = given.deadline or time.time() + given.limit
    if given.stage:
        run = Run(given.stage, out, work, given.small, given.repeat, deadline)
        with collector_at_rest():
            stage = import_module(f".{given.stage}", __package__)
        stage.measure(run)
        return
    (out / "rows.jsonl").unlink(missing_ok=True)
    if not given.small and "no GPU" in card():
        sys.exit("There is no GPU that torch can use here. --small runs the program on a CPU.")
    for stage in given.stages:
        left = deadline - time.time()
        if left < 15:
            print(f"{stage}: no time left")
            break
        run_stage(stage, out, work, given, deadline)
    (out / "results.json").write_text(json.dumps({"card": card(), "rows": rows(out)}, indent=1))
    text = table(card(), rows(out))
    (out / "table.md").write_text(text)
    print(f"\n{text}")


def run_stage(stage: str, out: Path, work: Path, given: argparse.Namespace, deadline: float) -> None:
    """A stage in a process of its own: a fault, or compiled code, of one leaves the others alone."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--stage", stage, "--deadline", str(deadline)]
    command += ["--out", str(out), "--work", str(work), "--repeat", str(given.repeat), *(["--small"] * given.small)]
    caches = {"TORCHINDUCTOR_CACHE_DIR": str(work / ("variants-inductor" if stage == "variants" else "inductor"))}
    child = subprocess.Popen(command, env=os.environ | caches, cwd=ROOT)
    timer = threading.Timer(max(5.0, deadline - time.time()), child.kill)
    timer.start()
    code = child.wait()
    timer.cancel()
    if code:
        print(f"{stage}: ended with {code}", flush=True)


if __name__ == "__main__":
    main()
