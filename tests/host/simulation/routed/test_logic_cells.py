"""Truth tables as expressions."""

from __future__ import annotations

import random

from host.simulation.routed.logic_cells import expression


def test_expressions_are_their_tables() -> None:
    rng = random.Random(2)
    for _ in range(1000):
        inputs = rng.randrange(1, 5)
        names = [f"I{index}" for index in range(inputs)]
        table = rng.getrandbits(1 << inputs)
        text = expression((table, inputs), names)[1].replace("1'b", "")
        for index in range(1 << inputs):
            values = {name: index >> position & 1 for position, name in enumerate(names)}
            assert eval(text, values) & 1 == table >> index & 1, (table, text)
