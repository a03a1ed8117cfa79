// Drives twins (test_cells.py) with random words and counts where they differ.

#include <cstdint>
#include <random>

#include "design.h"

namespace {

template <size_t Width>
uint32_t get(const cxxrtl::value<Width> &pin) { return pin.data[0]; }
template <size_t Width>
uint32_t get(const cxxrtl::wire<Width> &pin) { return pin.curr.data[0]; }

}  // namespace

// For each pair: cycles in which it was compared, and in which it differed.
extern "C" void twins_run(uint64_t cycles, uint64_t seed, uint32_t pairs, uint64_t *compared,
                          uint64_t *differed) {
  cxxrtl_design::p_top design;
  std::mt19937_64 random(seed);
  design.p_rst.set<uint32_t>(0);
  while (cycles--) {
    for (auto &chunk : design.p_stimulus.data) chunk = random();
    design.p_clk.set<uint32_t>(0);
    design.step();
    for (uint32_t pair = 0; pair < pairs; pair++) {
      compared[pair] += get(design.p_compared) >> pair & 1;
      differed[pair] += get(design.p_differs) >> pair & 1;
    }
    design.p_clk.set<uint32_t>(1);
    design.step();
  }
}
