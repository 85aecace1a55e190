// Records of MXNet's RecordIO and the faces in them, as face recognition sets come. Pure functions over (pointer, length).
//
//     MN_TRY(data__recordio_join("train.rec", offset, bytes, size, &payload));   // bytes: from the record's offset on
//     MN_TRY(data__recordio_head("train.rec", offset, bytes, payload, &face));
//
// Sources: dmlc-core src/recordio.cc (framing), MXNet python/mxnet/recordio.py (the head of a payload), InsightFace
// recognition/arcface_torch/dataset.py (what the labels of the first record mean).
#ifndef DATA_IMPORT_RECORDIO_H
#define DATA_IMPORT_RECORDIO_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define DATA__RECORDIO_MAGIC 0xced7230au

// What the 8 bytes at the head of a part say. Whether they are those of a record; and how many bytes it has with them, padded
// where *more parts follow. What is no part has its head alone.
#define DATA__RECORDIO_HEAD 8
int data__recordio_begins(const unsigned char head[DATA__RECORDIO_HEAD]);
size_t data__recordio_part(const unsigned char head[DATA__RECORDIO_HEAD], int *more);

// Makes the payload of the record at the beginning of `bytes` (size of them follow in the file, at least the record) lie
// at their beginning: without the heads of its parts, and with the magic number that was cut out between them. MN_EDATA,
// with name and byte offset in the file (`offset` is that of bytes): no record, or cut off.
MN_MUST_CHECK mn_err data__recordio_join(const char *name, int64_t offset, void *bytes, size_t size, size_t *payload);

typedef struct data__recordio_face {
    uint32_t n_labels; // of an array; 0: one label, in label[0]
    float label[2];    // the first two, 0 where there are fewer
    uint64_t id;
    const unsigned char *image; // in the payload; none: size 0
    size_t size;
} data__recordio_face;
MN_MUST_CHECK mn_err data__recordio_head(const char *name, int64_t offset, const void *payload, size_t size,
                                         data__recordio_face *out);

#endif
