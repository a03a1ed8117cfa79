"""Common to all tests. Being here, it also puts this directory on the import path."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--port", default="sim", help="board for tests/hardware: a device, a URL, sim (default)"
    )
