// Which build this is. Threading: pure functions.
#ifndef RECIPES_VERSION_H
#define RECIPES_VERSION_H

#include <stdint.h>

int mien_print_version(void);      // version, build options, library versions, to stdout; returns 0
uint64_t mien_binary_digest(void); // XXH3-64 of the running executable, 0 if it cannot be read

#endif
