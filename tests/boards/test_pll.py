"""PLL settings lie within the data sheets' ranges, and make what INFO then tells."""

from __future__ import annotations

import pytest

from boards.build.clocks import Ecp5Pll, Ice40Pll
from boards.pll import ClockError, EhxpllSettings, PllSettings


@pytest.mark.parametrize("input_mhz", [25, 48, 50, 100])
def test_ecp5(input_mhz):
    input_hz = input_mhz * 1_000_000
    for wanted_mhz in (30, 60, 70, 80, 96, 120):
        settings = EhxpllSettings.nearest(input_hz, wanted_mhz * 1e6)
        output_hz = input_hz * settings.clkfb_div / settings.clki_div
        assert Ecp5Pll("clk", input_hz).frequency(wanted_mhz * 1e6) == output_hz
        assert output_hz == pytest.approx(wanted_mhz * 1e6, rel=0.02)
        assert 400e6 <= output_hz * settings.clkop_div <= 800e6
        assert input_hz / settings.clki_div >= 3.125e6
    with pytest.raises(ClockError, match="1000 MHz cannot be made of"):
        EhxpllSettings.nearest(input_hz, 1e9)


@pytest.mark.parametrize("input_mhz", [12, 16, 48])
def test_ice40(input_mhz):
    input_hz = input_mhz * 1_000_000
    for wanted_mhz in (18, 24, 36, 37.5, 48, 60):
        settings = PllSettings.nearest(input_hz, wanted_mhz * 1e6)
        comparator_hz = input_hz / (settings.divr + 1)
        vco_hz = comparator_hz * (settings.divf + 1)
        assert 10e6 <= comparator_hz <= 133e6
        assert 533e6 <= vco_hz <= 1066e6
        assert 0 <= settings.divf < 128 and 1 <= settings.divq <= 6
        output_hz = Ice40Pll("clk", input_hz).frequency(wanted_mhz * 1e6)
        assert output_hz == vco_hz / 2**settings.divq
        assert output_hz == pytest.approx(wanted_mhz * 1e6, rel=0.02)
    with pytest.raises(ClockError, match="900 MHz cannot be made of"):
        PllSettings.nearest(input_hz, 900e6)
