// Drives rx a cycle at a time and tells tx (test_routed.py); only rising edges are evaluated.

#include <cstdint>

#include "design.h"

namespace {
template <size_t Width>
bool level(const cxxrtl::value<Width> &pin) { return pin.data[0] & 1; }
template <size_t Width>
bool level(const cxxrtl::wire<Width> &pin) { return pin.curr.data[0] & 1; }
}  // namespace

extern "C" void pins_run(uint64_t cycles, const uint8_t *rx, uint8_t *tx) {
  cxxrtl_design::p_top design;
  for (uint64_t cycle = 0; cycle < cycles; cycle++) {
    design.p_rx.set<bool>(rx[cycle]);
    design.p_clk.set<bool>(true);
    design.prev_p_clk.set<bool>(false);
    design.step();
    tx[cycle] = level(design.p_tx);
  }
}
