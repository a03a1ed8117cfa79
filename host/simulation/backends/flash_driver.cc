// As driver.cc, with a flash at the design's other pins.

#define EYESPOT_FLASH
#include "driver.cc"
