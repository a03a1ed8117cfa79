"""A server and a page for the tests of the studio."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def cable():
    from tests.host.studio.bench import Cable

    return Cable()


@pytest.fixture(scope="module")
def serving(cable, tmp_path_factory):
    from tests.host.studio.bench import Bench, served

    folder = tmp_path_factory.mktemp("studio")
    with served(Bench("fake", folder, open_board=cable.open)) as running:
        yield running


@pytest.fixture
def first(serving):
    """A page that operates the board, which has the bundled digits."""
    from tests.host.studio.bench import page

    with page(serving) as opened:
        status = opened.wait_for("status", lambda status: status["phase"] == "ready")
        if status["model"] is None or status["model"]["name"] != "digits":
            opened.do("model", name="digits")
            opened.ready("digits")
        yield opened
