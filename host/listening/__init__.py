"""Listening: sound becomes features, features go through a network, and scores become events."""

from .listener import Event, Listener, Step
from .parameters import Parameters, read_parameters

__all__ = ["Event", "Listener", "Parameters", "Step", "read_parameters"]
