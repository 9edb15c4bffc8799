"""Fuzzing for a time, from a seed: ``python -m fuzzing --seconds 3600 --seed 7 photos bodies requests``.

What is found is printed and kept in ``fuzzing/cases/``, where the tests run it again from then on. The same seed makes
the same cases in the same order.
"""

import argparse
import hashlib
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from fuzzing.mutations import mutated
from fuzzing.platform import Platform
from fuzzing.targets import Bodies, Photos, Requests, Target

CASES = Path(__file__).parent / "cases"
NAMES = ("photos", "bodies", "requests")
SHARE = {"photos": 20, "bodies": 2, "requests": 5}  # cases of each, a round


def started(names: list[str], stack: ExitStack) -> list[Target]:
    """The targets of those names; a platform where one needs it, until the stack is closed."""
    targets: list[Target] = [Photos()] if "photos" in names else []
    if {"bodies", "requests"}.intersection(names):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzzing-"))
        platform = Platform(Path(folder) / "state")
        stack.callback(platform.stop)
        targets += [kind(platform) for kind in (Bodies, Requests) if kind.name in names]
    return targets


def fuzz(targets: list[Target], seed: int, seconds: float, cases: int, kept: Path | None) -> dict[str, int]:
    """Findings by target and kind; ends after so many seconds or cases, whichever is first."""
    random, found, tried = Random(seed), dict[str, int](), dict.fromkeys((target.name for target in targets), 0)
    deadline = time.monotonic() + seconds
    slowest = (0.0, "")
    while time.monotonic() < deadline and sum(tried.values()) < cases:
        for target in targets:
            for _ in range(SHARE[target.name]):
                case = mutated(random.choice(target.samples), random, target.samples)
                begun = time.monotonic()
                finding = target.finding(case)
                slowest = max(slowest, (time.monotonic() - begun, target.name))
                tried[target.name] += 1
                if finding is not None:
                    kind = f"{target.name}: {finding}"
                    if kind not in found:
                        print(f"{kind} ({keep(case, target.name, kept)})", flush=True)
                    found[kind] = found.get(kind, 0) + 1
    print(f"seed {seed}: tried {tried}, the slowest {slowest[0]:.1f} s ({slowest[1]}), found {found or 'nothing'}")
    return found


def keep(case: bytes, name: str, folder: Path | None) -> Path | str:
    """Where the case was put."""
    if folder is None:
        return f"{len(case)} bytes"
    path = folder / f"{name}-{hashlib.sha256(case).hexdigest()[:12]}"
    path.write_bytes(case)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long; default: 600")
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="at most so many; default: no matter")
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    arguments = parser.parse_args()
    names = arguments.targets or list(NAMES)
    if not set(names) <= set(NAMES):
        parser.error(f"there are {', '.join(NAMES)}")
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    with ExitStack() as stack:
        found = fuzz(started(names, stack), seed, arguments.seconds, arguments.cases, CASES)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
