"""The serial line: frames, requests in flight, and what is done when one is lost."""
