// What an import, or a dry run of one, tells a person: the report of data/import.h as text.
// Threading: pure functions over the report; writing errors stay in `to`.
#ifndef RECIPES_IMPORT_REPORT_H
#define RECIPES_IMPORT_REPORT_H

#include <jansson.h>
#include <stdio.h>

void mien_print_survey(FILE *to, const json_t *report, const char *src, const char *out, int makers);
void mien_print_imported(FILE *to, const json_t *report, const char *out, int anew); // anew: pictures were encoded anew

#endif
