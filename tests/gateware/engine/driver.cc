// Around the engine's bench (bench.py): memory in bulk, and runs of the clock in one call.

#include <cstdint>

#include "design.h"

namespace {

// The design, and what comes from flash.
struct Design : cxxrtl_design::p_top {
  const uint8_t *stream = nullptr;
  uint32_t word_bytes = 1, size = 0, at = 0, wait = 0;
};

// An output is a wire if it comes from a register, and a value otherwise.
template <size_t Width>
uint32_t get(const cxxrtl::value<Width> &pin) { return pin.data[0]; }
template <size_t Width>
uint32_t get(const cxxrtl::wire<Width> &pin) { return pin.curr.data[0]; }

void settle(Design &design) {
  design.p_clk.set<uint32_t>(0);
  design.step();
}

// A word is there twice as many cycles as it has bytes after the one before was taken.
void offer(Design &design) {
  bool valid = design.at < design.size && !design.wait;
  uint64_t word = 0;
  for (uint32_t i = 0; valid && i < design.word_bytes; i++)
    word |= uint64_t(design.stream[design.at + i]) << 8 * i;
  design.p_flash__valid.set<uint32_t>(valid);
  for (size_t chunk = 0; chunk < design.p_flash.chunks; chunk++)
    design.p_flash.data[chunk] = word >> 32 * chunk;
  settle(design);
  if (valid && get(design.p_flash__ready)) {
    design.at += design.word_bytes;
    design.wait = 2 * design.word_bytes;
  }
  if (design.wait) design.wait--;
}

void edge(Design &design) {
  if (design.size) offer(design);
  design.p_clk.set<uint32_t>(1);
  design.step();
  settle(design);
}

// Hold a request until it is accepted.
void request(Design &design, uint32_t address, bool write, uint8_t data) {
  design.p_address.set<uint32_t>(address);
  design.p_write.set<uint32_t>(write);
  design.p_data.set<uint32_t>(data);
  design.p_valid.set<uint32_t>(1);
  settle(design);
  while (!get(design.p_ready)) edge(design);
  edge(design);
  design.p_valid.set<uint32_t>(0);
  settle(design);
}

}  // namespace

extern "C" {

void *bench_create() {
  auto *design = new Design;
  design->p_rst.set<uint32_t>(0);
  settle(*design);
  for (int i = 0; i < 4; i++) edge(*design);
  return design;
}

void bench_destroy(void *handle) { delete static_cast<Design *>(handle); }

void bench_write(void *handle, uint32_t address, const uint8_t *data, uint32_t size) {
  auto &design = *static_cast<Design *>(handle);
  for (uint32_t i = 0; i < size; i++) request(design, address + i, true, data[i]);
}

void bench_read(void *handle, uint32_t address, uint8_t *data, uint32_t size) {
  auto &design = *static_cast<Design *>(handle);
  for (uint32_t i = 0; i < size; i++) {
    request(design, address + i, false, 0);
    while (!get(design.p_response__valid)) edge(design);
    data[i] = get(design.p_response);
  }
}

void bench_set_stream(void *handle, uint32_t word_bytes, const uint8_t *data, uint32_t size) {
  auto &design = *static_cast<Design *>(handle);
  design.stream = data;
  design.word_bytes = word_bytes;
  design.size = size;
}

// Returns the engine's error, or 255 if it was still running after `limit` cycles.
uint32_t bench_run(void *handle, uint32_t layers, uint32_t cause, uint64_t limit, uint32_t *result) {
  auto &design = *static_cast<Design *>(handle);
  design.p_layers.set<uint32_t>(layers);
  design.p_stall__cause.set<uint32_t>(cause);
  design.at = design.wait = 0;
  design.p_run.set<uint32_t>(1);
  settle(design);
  edge(design);
  design.p_run.set<uint32_t>(0);
  settle(design);
  while (get(design.p_busy)) {
    if (!limit--) return 255;
    edge(design);
  }
  result[0] = get(design.p_cycles);
  result[1] = get(design.p_stalls);
  result[2] = get(design.p_best);
  return get(design.p_error);
}

}
