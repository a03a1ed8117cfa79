"""Boards: what differs from one to the next, and how a bitstream is built for it."""
