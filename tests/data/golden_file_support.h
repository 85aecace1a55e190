// Reading a file of tests/golden: tensors by name.
#ifndef TESTS_DATA_GOLDEN_FILE_SUPPORT_H
#define TESTS_DATA_GOLDEN_FILE_SUPPORT_H

#include <stdint.h>

typedef struct golden_file golden_file;
golden_file *golden_file_open(const char *name); // dies when it cannot be read
void golden_file_close(golden_file *g);
const void *golden_file_bytes(const golden_file *g, const char *tensor, int64_t *bytes); // dies when it is not there
const float *golden_file_get(const golden_file *g, const char *tensor, int64_t *count);  // dies when it is not there

#endif
