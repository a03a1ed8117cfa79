// Around a CXXRTL design with pins clk, rx, tx: its clock, and a UART at the pins' other end.
//
// Compiled together with the design, so that many thousands of cycles pass in one call from
// Python. Times are in clock cycles with 16 fractional bits. With EYESPOT_FLASH defined there is
// also a flash at the pins flash_select, flash_clock, flash_o, flash_oe and flash_i.

#include <cstdint>
#include <cstring>
#include <deque>

#include "design.h"
#ifdef EYESPOT_FLASH
#include "../flash/flash.cc"
#endif

namespace {

constexpr int FRACTION = 16;

// An output is a wire if it comes from a register, and a value otherwise.
template <size_t Width>
unsigned levels(const cxxrtl::value<Width> &pin) { return pin.data[0]; }
template <size_t Width>
unsigned levels(const cxxrtl::wire<Width> &pin) { return pin.curr.data[0]; }

struct Board {
  cxxrtl_design::p_top design;
  uint64_t cycle = 0;
  uint64_t period = 16 << FRACTION;

  // To the board: start bit, eight data bits, stop bit, least significant first.
  std::deque<uint8_t> queue;
  uint64_t low_cycles = 0;
  unsigned bits = 1;
  int bits_left = 0;
  uint64_t next_bit = 0;

  // From the board.
  bool idle = true;
  bool in_break = false;
  unsigned byte = 0;
  int bits_seen = 0;
  uint64_t next_sample = 0;

#ifdef EYESPOT_FLASH
  Flash *flash = nullptr;
#endif

  uint64_t now() const { return cycle << FRACTION; }

  void drive() {
    if (now() < next_bit) return;
    if (bits_left > 1) {
      bits >>= 1;
      bits_left--;
      next_bit += period;
    } else if (!queue.empty()) {
      bits = queue.front() << 1 | 0x200;
      queue.pop_front();
      // Bytes follow one another without a gap; after a pause the next begins at once.
      next_bit = (bits_left ? next_bit : now()) + period;
      bits_left = 10;
    } else if (low_cycles) {
      bits = 0;
      bits_left = 1;
      next_bit = now() + (low_cycles << FRACTION);
      low_cycles = 0;
    } else {
      bits = 1;
      bits_left = 0;
    }
  }

  // One clock cycle with one evaluation: it computes all registers' inputs from the levels before
  // the edge. The falling edge means nothing to the design and is left out.
  void tick() {
#ifdef EYESPOT_FLASH
    design.p_flash__i.set<uint8_t>(
        flash->cycle(levels(design.p_flash__select), levels(design.p_flash__clock),
                     levels(design.p_flash__o), levels(design.p_flash__oe)));
#endif
    design.p_rx.set<bool>(bits & 1);
    design.p_clk.set<bool>(true);
    design.prev_p_clk.set<bool>(false);
    design.step();
    cycle++;
  }

  // True when a byte is complete.
  bool sample() {
    bool line = levels(design.p_tx);
    if (idle) {
      if (in_break) {
        in_break = !line;
      } else if (!line) {
        idle = false;
        byte = 0;
        bits_seen = 0;
        next_sample = now() + period + period / 2;
      }
      return false;
    }
    if (now() < next_sample) return false;
    next_sample += period;
    if (bits_seen == 8) {
      idle = true;
      in_break = !line;
      return true;
    }
    byte |= unsigned(line) << bits_seen++;
    return false;
  }
};

// Registers and memories in a fixed order.
template <typename Visit>
size_t visit_state(Board *board, Visit visit) {
  cxxrtl::debug_items items;
  board->design.debug_info(&items, nullptr, "");
  size_t size = 0;
  for (auto &entry : items.table)
    for (auto &item : entry.second) {
      if (item.type != CXXRTL_WIRE && item.type != CXXRTL_MEMORY) continue;
      size_t bytes = (item.width + 31) / 32 * item.depth * sizeof(uint32_t);
      visit(item, size, bytes);
      size += bytes;
    }
  return size;
}

}  // namespace

extern "C" {

Board *board_create() { return new Board; }
void board_destroy(Board *board) { delete board; }
#ifdef EYESPOT_FLASH
void board_set_flash(Board *board, Flash *flash) { board->flash = flash; }
#endif
uint64_t board_cycles(Board *board) { return board->cycle; }
void board_set_period(Board *board, uint64_t period) { board->period = period; }
void board_hold_low(Board *board, uint64_t cycles) { board->low_cycles = cycles; }

size_t board_pending(Board *board) {
  return board->queue.size() + (board->bits_left > 0) + (board->low_cycles > 0);
}

void board_send(Board *board, const uint8_t *data, size_t size) {
  board->queue.insert(board->queue.end(), data, data + size);
}

// Runs until a zero byte has come, `capacity` bytes have, or `cycles` are over.
// Returns how many bytes came.
size_t board_run(Board *board, uint64_t cycles, uint8_t *received, size_t capacity) {
  size_t count = 0;
  uint64_t end = board->cycle + cycles;
  while (board->cycle < end && count < capacity) {
    board->drive();
    board->tick();
    if (board->sample()) {
      received[count++] = board->byte;
      if (!board->byte) break;
    }
  }
  return count;
}

size_t board_state_size(Board *board) {
  return visit_state(board, [](cxxrtl::debug_item &, size_t, size_t) {});
}

void board_save(Board *board, uint8_t *state) {
  visit_state(board, [&](cxxrtl::debug_item &item, size_t offset, size_t bytes) {
    memcpy(state + offset, item.curr, bytes);
  });
}

void board_restore(Board *board, const uint8_t *state) {
  visit_state(board, [&](cxxrtl::debug_item &item, size_t offset, size_t bytes) {
    memcpy(item.curr, state + offset, bytes);
    if (item.next) memcpy(item.next, state + offset, bytes);
  });
  board->design.wake();
}

}
