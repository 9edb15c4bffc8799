"""Everything there is to measure about one card, in one command; see ``python -m benchmarks.gpu --help``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # full_size and inference are programs of their own beside this package
