"""What every test needs."""

import os

# Tiny networks run fastest on one thread, above all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The libraries' advice about their own optional parts is not what a failing test should print.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
