"""Tests of host.listening."""
