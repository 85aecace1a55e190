// Fields of FER2013's and FER+'s lists. Pure functions over (pointer, length).
#ifndef DATA_IMPORT_FERPLUS_ROWS_H
#define DATA_IMPORT_FERPLUS_ROWS_H

#include "data/import/importer.h"
#include "data/import/text.h"

enum { DATA__FER_SIDE = 48, DATA__FER_PIXELS = DATA__FER_SIDE * DATA__FER_SIDE };

// Both return DATA__REASON_COUNT when the field is good; else detail (of `size` bytes) says what is not.

// "70 80 82 ...": grey values, row by row.
data__reason data__fer_pixels(data__text t, uint8_t pixels[DATA__FER_PIXELS], char *detail, size_t size);
// Ten counts: neutral happiness surprise sadness anger disgust fear contempt unknown NF (not a face).
data__reason data__fer_votes(const data__text *fields, uint8_t votes[DATA_VOTES], char *detail, size_t size);

// The expression, in Aff-Wild2's order, that more voters gave than anything else; -1: there is none.
int8_t data__fer_expression(const uint8_t votes[DATA_VOTES]);

#endif
