// A layout of a dataset's own files, as the command names it: what there are importers and generators for.
#ifndef DATA_KIND_H
#define DATA_KIND_H

typedef struct data_kind {
    const char *name, *help;
} data_kind;

extern const data_kind data_import_kinds[], data_synth_kinds[]; // each ends with a NULL name

#endif
