// flash.h for callers from Python.

#include "flash.h"

using flash::Flash;

extern "C" {

Flash *flash_create(unsigned part, double period, double scale) {
  return new Flash(part, period, scale);
}
void flash_destroy(Flash *flash) { delete flash; }
uint8_t flash_cycle(Flash *flash, bool selected, bool clock, uint8_t o, uint8_t oe) {
  return flash->cycle(selected, clock, o, oe);
}
const char *flash_error(Flash *flash) { return flash->error(); }
bool flash_busy(Flash *flash) { return flash->busy(); }
uint8_t *flash_memory(Flash *flash) { return flash->memory.data(); }
size_t flash_state_size(Flash *flash) { return flash->state_size(); }
void flash_save(Flash *flash, uint8_t *state) { flash->save(state); }
void flash_restore(Flash *flash, const uint8_t *state) { flash->restore(state); }
void flash_set_faults(Flash *flash, uint32_t faults) { flash->faults = faults; }
void flash_lose_master(Flash *flash) { flash->lose_master(); }
void flash_lose_power(Flash *flash, uint32_t seed) { flash->lose_power(seed); }

}
