// Small datasets for the tests of this folder, made by code.
#ifndef TESTS_DATA_SHARD_SUPPORT_H
#define TESTS_DATA_SHARD_SUPPORT_H

#include "data/shard.h"

#include <stdint.h>

// A new empty folder below the system's temporary folder; remove it with support_remove. The caller frees.
char *support_folder(void);
void support_remove(char *dir); // with everything in it; frees dir

// The bytes of made record i: size and content are functions of i; every fifth is empty.
size_t support_bytes(int64_t i, unsigned char *bytes); // at most 4096

// One shard of videos (7 records each, three videos per 21 records) with every label column; dies on an error.
void support_shard(const char *dir, int index, int count, int64_t records);
void support_dataset(const char *dir, int shards, int64_t records_each); // and its manifest

unsigned char *support_read(const char *path, size_t *size);
void support_write(const char *path, const void *bytes, size_t size);

#endif
