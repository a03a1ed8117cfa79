// A serial flash behind its pins, strict: whatever the datasheets of W25Q128JV and IS25LP128F do
// not allow is an error that stays. A real part would ignore it, or do something else.
//
// One call a cycle of the FPGA's clock, with the levels at the flash's pins in that cycle. Only
// what a controller of ours needs is known; other commands are errors.

#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace flash {

struct Part {
  std::array<uint8_t, 3> id;
  bool quad_in_register_2;  // bit 1, also volatile by 50h; otherwise bit 6 of register 1
  // Round values of the datasheets' order, in nanoseconds.
  double release, program, erase;
};

constexpr Part PARTS[] = {
    {{0xEF, 0x70, 0x18}, true, 3e3, 0.4e6, 45e6},
    {{0x9D, 0x60, 0x18}, false, 5e3, 0.2e6, 70e6},
};
constexpr size_t SIZE = 1 << 24;
constexpr size_t SECTOR = 4096;
constexpr size_t PAGE = 256;
// Between two selections, in nanoseconds.
constexpr double DESELECTED = 50;
constexpr unsigned QUAD_DUMMIES = 4;

// How a board may be broken.
enum Fault : uint32_t {
  ABSENT = 1,
  UNKNOWN_ID = 2,
  PROTECTED = 4,  // erasing and programming are ignored, without a word
  WORN = 8,       // bit 0 of each byte can no longer be programmed
  STUCK = 16,     // never ready again after an erasure
  QUAD_OFF = 32,  // the bit that is not volatile is clear
};

class Flash {
 public:
  Flash(unsigned part, double period, double scale)
      : part_(PARTS[part]), period_(period), scale_(scale), memory(SIZE, 0xFF) {
    power_up(true);
  }

  uint32_t faults = 0;
  bool busy() const { return operation_ != NONE; }
  const char *error() const { return error_.c_str(); }

 private:
  enum Phase { COMMAND, ADDRESS, DUMMY, WRITE, READ, DONE };
  enum Operation { NONE, ERASE, PROGRAM, RELEASE };

  Part part_;
  double period_, scale_, now_ = 0;
  std::string error_;

  // What a loss of power takes with it.
  bool powered_down_, write_enabled_, volatile_write_, quad_, continuous_;
  Operation operation_;
  double until_;
  uint32_t target_ = 0;
  std::vector<uint8_t> buffer_;

  // The selection.
  bool selected_;
  double deselected_at_;
  Phase phase_;
  bool by_four_;
  uint8_t command_;
  unsigned clocks_, bits_;
  uint32_t value_, address_;
  uint8_t drives_, shows_;

  // Everything but the memory, faults and the error, one member after the other.
  template <typename Visit>
  void visit(Visit visit) {
    visit(&now_, sizeof now_);
    for (bool *flag : {&powered_down_, &write_enabled_, &volatile_write_, &quad_, &continuous_,
                       &selected_, &by_four_})
      visit(flag, sizeof *flag);
    visit(&operation_, sizeof operation_);
    visit(&until_, sizeof until_);
    visit(&deselected_at_, sizeof deselected_at_);
    visit(&phase_, sizeof phase_);
    for (uint8_t *byte : {&command_, &drives_, &shows_}) visit(byte, 1);
    for (unsigned *number : {&clocks_, &bits_}) visit(number, sizeof *number);
    for (uint32_t *number : {&target_, &value_, &address_}) visit(number, sizeof *number);
    uint32_t size = buffer_.size();
    visit(&size, sizeof size);
    buffer_.resize(PAGE);
    visit(buffer_.data(), PAGE);
    buffer_.resize(size < PAGE ? size : PAGE);
  }

  void fail(const std::string &what) {
    if (error_.empty()) error_ = what;
  }

  static std::string hex(unsigned value) {
    char text[16];
    snprintf(text, sizeof text, "%02X", value);
    return std::string(text) + "h";
  }

  void start(Operation operation, double time) {
    operation_ = operation;
    until_ = now_ + time * scale_;
    if (operation == ERASE && (faults & STUCK)) until_ = 1e300;
  }

  void finish() {
    if (operation_ == ERASE) std::memset(&memory[target_], 0xFF, SECTOR);
    if (operation_ == PROGRAM)
      for (size_t at = 0; at < buffer_.size(); at++)
        memory[target_ + at] &= buffer_[at] | ((faults & WORN) ? 1 : 0);
    if (operation_ == RELEASE) powered_down_ = false;
    if (operation_ != RELEASE) write_enabled_ = false;
    operation_ = NONE;
  }

  uint8_t status() const {
    if (faults & ABSENT) return 0xFF;
    uint8_t quad = !part_.quad_in_register_2 && !(faults & QUAD_OFF) ? 0x40 : 0;
    return quad | (write_enabled_ ? 2 : 0) | (busy() ? 1 : 0);
  }

  bool quad_enabled() const {
    return part_.quad_in_register_2 ? quad_ : !(faults & QUAD_OFF);
  }

  // The byte that a command gives at a place, beginning with 0.
  uint8_t answer(size_t place) const {
    switch (command_) {
      case 0x05: return status();
      case 0x35: return quad_ ? 2 : 0;
      case 0x9F: return faults & UNKNOWN_ID ? 0x1F : part_.id[place % 3];
      default: return memory[(address_ + place) % SIZE];
    }
  }

  void decide() {
    bits_ = value_ = 0;
    phase_ = DONE;
    if (command_ == 0xFF || command_ == 0xAB) return;
    if (powered_down_) return fail("command " + hex(command_) + " in power-down");
    if (command_ == 0x05) {
      phase_ = READ;
      return;
    }
    if (busy()) return fail("command " + hex(command_) + " while busy");
    switch (command_) {
      case 0x35: case 0x31:
        if (!part_.quad_in_register_2) fail("command " + hex(command_) + " is unknown");
        phase_ = command_ == 0x35 ? READ : WRITE;
        buffer_.clear();
        break;
      case 0x9F: phase_ = READ; break;
      case 0x06: case 0x04: case 0xB9: break;
      case 0x50:
        if (!part_.quad_in_register_2) fail("command 50h is unknown");
        break;
      case 0x20: case 0x02: case 0x03: phase_ = ADDRESS; break;
      case 0xEB:
        if (!quad_enabled()) fail("quad read, but quad mode is off");
        phase_ = ADDRESS;
        by_four_ = true;
        break;
      default: fail("command " + hex(command_) + " is unknown");
    }
  }

  void rise(uint8_t lines, uint8_t driven) {
    clocks_++;
    if (!by_four_ && !quad_enabled() && (~lines & 0xC))
      fail("/WP or /HOLD is low while quad mode is off");
    if (phase_ == READ) return;
    uint8_t needed = by_four_ ? 0xF : 1;
    if (phase_ == DUMMY) return;
    if (phase_ == DONE) {
      if (command_ != 0xFF) fail("clocks after the end of command " + hex(command_));
      return;
    }
    // All ones are what ends the continuous mode: there the pull-ups do.
    if ((driven & needed) != needed && !(continuous_ && lines == 0xF))
      fail("a line that the flash reads floats");
    value_ = by_four_ ? value_ << 4 | lines : value_ << 1 | (lines & 1);
    bits_ += by_four_ ? 4 : 1;
    if (phase_ == COMMAND && bits_ == 8) {
      command_ = value_;
      decide();
    } else if (phase_ == ADDRESS && bits_ == (by_four_ ? 32u : 24u)) {
      address_ = by_four_ ? value_ >> 8 : value_;
      if (by_four_) {
        continuous_ = (value_ >> 4 & 3) == 2;
        // Eight clocks of ones only end the continuous mode.
        if (value_ == 0xFFFFFFFF) command_ = 0xFF;
      }
      bits_ = value_ = 0;
      phase_ = command_ == 0xFF ? DONE : by_four_ ? DUMMY : command_ == 0x03 ? READ : WRITE;
      clocks_ = 0;
      buffer_.clear();
    } else if (phase_ == WRITE && bits_ == 8) {
      if (command_ == 0x20) fail("sector erase with more than an address");
      if (buffer_.size() == PAGE) fail("more than a page to be programmed");
      if (command_ == 0x31 && buffer_.size()) fail("more than a byte for a status register");
      buffer_.push_back(value_);
      bits_ = value_ = 0;
    }
  }

  void fall() {
    if (phase_ == DUMMY && clocks_ == QUAD_DUMMIES) {
      phase_ = READ;
      bits_ = 0;
    }
    if (phase_ != READ) return;
    uint8_t byte = answer(bits_ / 8);
    if (by_four_) {
      drives_ = 0xF;
      shows_ = bits_ % 8 ? byte & 0xF : byte >> 4;
      bits_ += 4;
    } else {
      drives_ = 2;
      shows_ = (byte >> (7 - bits_ % 8) & 1) << 1;
      bits_++;
    }
  }

  void select() {
    if (now_ - deselected_at_ < DESELECTED) fail("selected again too soon");
    if (operation_ == RELEASE) fail("selected before the release from power-down is over");
    phase_ = continuous_ ? ADDRESS : COMMAND;
    by_four_ = continuous_;
    if (continuous_) command_ = 0xEB;
    clocks_ = bits_ = value_ = 0;
  }

  void deselect() {
    deselected_at_ = now_;
    drives_ = 0;
    bool whole = bits_ == 0;
    if (phase_ == READ || phase_ == DUMMY) return;
    if (phase_ == COMMAND || phase_ == ADDRESS) return fail("deselected within a command");
    switch (command_) {
      case 0xAB:
        if (powered_down_) start(RELEASE, part_.release);
        break;
      case 0xB9: powered_down_ = true; break;
      case 0x06: write_enabled_ = true; break;
      case 0x04: write_enabled_ = false; break;
      case 0x50: volatile_write_ = true; break;
      case 0x31:
        if (!volatile_write_) fail("a status register is written that outlives power");
        if (!whole || buffer_.empty()) fail("deselected within a byte");
        else quad_ = buffer_[0] & 2;
        volatile_write_ = false;
        break;
      case 0x20: case 0x02:
        if (!whole) return fail("deselected within a byte");
        if (!write_enabled_) return fail("command " + hex(command_) + " without write-enable");
        if (faults & PROTECTED) {
          write_enabled_ = false;
        } else if (command_ == 0x20) {
          target_ = address_ / SECTOR * SECTOR;
          start(ERASE, part_.erase);
        } else {
          program();
        }
        break;
    }
  }

  void program() {
    target_ = address_;
    if (buffer_.empty()) return fail("nothing to program");
    if (address_ % PAGE + buffer_.size() > PAGE) return fail("programming past a page's end");
    for (size_t at = 0; at < buffer_.size(); at++)
      if (buffer_[at] & ~memory[target_ + at]) return fail("programming what is not erased");
    start(PROGRAM, part_.program);
  }

  void power_up(bool powered_down) {
    powered_down_ = powered_down;
    write_enabled_ = volatile_write_ = quad_ = continuous_ = selected_ = false;
    operation_ = NONE;
    deselected_at_ = -1e9;
    phase_ = COMMAND;
    by_four_ = false;
    command_ = drives_ = shows_ = 0;
    clocks_ = bits_ = value_ = address_ = 0;
  }

 public:
  std::vector<uint8_t> memory;

  // A cycle. Gives the lines' levels in it; those that nobody drives are pulled up.
  uint8_t cycle(bool selected, bool clock, uint8_t o, uint8_t oe) {
    now_ += period_;
    if (busy() && now_ >= until_) finish();
    if (selected && !selected_) select();
    if (!selected && selected_) deselect();
    selected_ = selected;
    if (selected && (drives_ & oe) && !(faults & ABSENT)) fail("two drive a line");
    if (clock && !selected) fail("clocks without selection");
    uint8_t drives = faults & ABSENT ? 0 : drives_;
    uint8_t lines = (o & oe) | (shows_ & drives & ~oe) | (0xF & ~(oe | drives));
    if (selected && clock) {
      rise(lines, oe);
      fall();
    }
    return lines;
  }

  size_t state_size() {
    size_t size = 0;
    visit([&](void *, size_t bytes) { size += bytes; });
    return size;
  }

  void save(uint8_t *state) {
    visit([&](void *member, size_t bytes) { std::memcpy(state, member, bytes), state += bytes; });
  }

  void restore(const uint8_t *state) {
    visit([&](void *member, size_t bytes) { std::memcpy(member, state, bytes), state += bytes; });
  }

  // The FPGA is loaded anew and lets go of the pins, wherever it was; a load takes longer than a
  // release. What was cut off within a byte is not executed; a page gets the bytes it was sent.
  void lose_master() {
    if (operation_ == RELEASE) finish();
    if (!selected_) return;
    selected_ = false;
    drives_ = 0;
    deselected_at_ = now_;
    if (phase_ == DONE || (phase_ == WRITE && !bits_ && !buffer_.empty())) deselect();
  }

  // Power fails and comes back. What was being erased or programmed is neither old nor new.
  void lose_power(uint32_t seed) {
    std::mt19937 random(seed);
    if (operation_ == ERASE)
      for (size_t at = 0; at < SECTOR; at++)
        memory[target_ + at] |= random();
    if (operation_ == PROGRAM)
      for (size_t at = 0; at < buffer_.size(); at++)
        memory[target_ + at] &= buffer_[at] | random();
    power_up(true);
  }
};

}  // namespace flash
