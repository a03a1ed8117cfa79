"""The simulated flash chip, and boards that have one."""
