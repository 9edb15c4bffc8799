"""From published checkpoints to networks on the device."""
