"""Eyespot."""
