"""fal's platform on one machine: any fal.App behind fal's own wire protocol, on loopback, without an account."""
