#include "nn/safetensors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A file in memory: header text, then `data_bytes` bytes of 0.
static char *file_of(const char *header, size_t header_bytes, size_t data_bytes, size_t *size)
{
    uint64_t length = header_bytes;
    char *bytes = calloc(8 + header_bytes + data_bytes + 1, 1);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, header_bytes);
    *size = 8 + header_bytes + data_bytes;
    return bytes;
}

static mn_err parse_text(const char *header, size_t data_bytes)
{
    nn_safetensors *f;
    size_t size;
    char *bytes = file_of(header, strlen(header), data_bytes, &size);
    mn_err err = nn_safetensors_parse(&f, bytes, size, "t");
    nn_safetensors_close(f);
    free(bytes);
    return err;
}

#define T(name, dtype, shape, begin, end)                                                                              \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

Test(safetensors, reads_names_types_and_metadata)
{
    const char *header = "{\"__metadata__\":{\"format\":\"pt\",\"\\u00e9\\ud83d\\ude00\":\"a\\n\\\"b\\\"\"}, " T(
        "b", "BF16", "[2]", "8", "12") "," T("a", "F32", "[]", "0",
                                             "4") "," T("h", "F16", "[1,2]", "4",
                                                        "8") "," T("e", "I64", "[0,3]", "12",
                                                                   "12") "," T("d", "F64", "[1]", "12", "20") "}    ";
    size_t size;
    char *bytes = file_of(header, strlen(header), 20, &size);
    const float a = 3.5f;
    const uint16_t halves[] = {0xc000, 0x3555}, brains[] = {0x3f80, 0xc040};
    const double d = 0.1;
    memcpy(bytes + size - 20, &a, 4);
    memcpy(bytes + size - 16, halves, 4);
    memcpy(bytes + size - 12, brains, 4);
    memcpy(bytes + size - 8, &d, 8);
    nn_safetensors *f;
    cr_assert_eq(nn_safetensors_parse(&f, bytes, size, "t"), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(nn_safetensors_count(f), 5);
    cr_expect_str_eq(nn_safetensors_metadata(f, "format"), "pt");
    cr_expect_str_eq(nn_safetensors_metadata(f, "\xc3\xa9\xf0\x9f\x98\x80"), "a\n\"b\"");
    cr_expect_null(nn_safetensors_metadata(f, "other"));
    cr_expect_str_eq(nn_safetensors_at(f, 0)->name, "a");
    cr_expect_str_eq(nn_safetensors_at(f, 4)->name, "d");
    cr_expect_null(nn_safetensors_find(f, "c"));
    float v[2];
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "a"), v), MN_OK);
    cr_expect_eq(v[0], 3.5f);
    cr_expect_eq(nn_safetensors_find(f, "a")->shape.n, 0);
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "h"), v), MN_OK);
    cr_expect(v[0] == -2.0f && v[1] == 0x1.554p-2f);
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "b"), v), MN_OK);
    cr_expect(v[0] == 1.0f && v[1] == -3.0f);
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "d"), v), MN_OK);
    cr_expect_eq(v[0], 0.1f);
    cr_expect_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "e"), v), MN_EDATA);
    nn_safetensors_close(f);
    free(bytes);
}

// Every half against its definition.
Test(safetensors, all_halves)
{
    enum { N = 65536 };
    const char *header = "{" T("h", "F16", "[65536]", "0", "131072") "}";
    size_t size;
    char *bytes = file_of(header, strlen(header), 2 * N, &size);
    float *v = malloc(N * sizeof *v);
    for (uint32_t i = 0; i < N; i++) {
        uint16_t h = (uint16_t)((i >> 10 & 31) == 31 ? 0 : i); // without infinities and NaN
        memcpy(bytes + size - 2 * N + 2 * i, &h, 2);
    }
    nn_safetensors *f;
    cr_assert_eq(nn_safetensors_parse(&f, bytes, size, "t"), MN_OK);
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_at(f, 0), v), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < N; i++) {
        int exponent = i >> 10 & 31;
        double m = (i & 1023) / 1024.0, x = exponent ? ldexp(1 + m, exponent - 15) : ldexp(m, -14);
        if (exponent < 31) cr_assert_eq((double)v[i], i >> 15 ? -x : x, "%04x", i);
    }
    nn_safetensors_close(f);
    free(v);
    free(bytes);
}

Test(safetensors, refuses)
{
    static const struct {
        const char *header;
        size_t data;
        const char *holds;
    } rows[] = {
        {"", 0, "does not start with {"},
        {" {}", 0, "does not start with {"},
        {"[]", 0, "byte 8"},
        {"{", 0, "byte 9: expected \""},
        {"{}x", 0, "byte 10: something behind"},
        {"{}\n", 0, "something behind"},
        {"{,}", 0, "expected \""},
        {"{" T("a", "F32", "[1]", "0", "4") ",}", 4, "expected \""},
        {"{" T("a", "F32", "[1]", "0", "4") " " T("b", "F32", "[1]", "4", "8") "}", 8, "expected }"},
        {"{\"a\":1}", 0, "byte 13: expected {"},
        {"{\"a\":{}}", 0, "expected \""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0, "without dtype, shape or data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "byte 28: a key given twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"x\":1}}", 0, "unknown key"},
        {"{" T("a", "F31", "[1]", "0", "4") "}", 4, "unknown dtype"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, "'a' is there twice"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("\\u0061", "F32", "[1]", "4", "8") "}", 8, "'a' is there twice"},
        {"{" T("", "F32", "[1]", "0", "4") "}", 4, "without a name"},
        {"{" T("a", "F32", "[1]", "0", "4") "}", 3, "outside the file"},
        {"{" T("a", "F32", "[1]", "0", "4") "}", 5, "end at byte 4 of the data, the file at 5"},
        {"{" T("a", "F32", "[1]", "4", "8") "}", 8, "starts at byte 4 of the data, 0 was expected"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "0", "4") "}", 4, "0 of the data, 4 was expected"},
        {"{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[1]", "4", "8") "}", 8, "4 of the data, 8 was expected"},
        {"{" T("a", "F32", "[1]", "0", "4") "," T("b", "F32", "[1]", "8", "12") "}", 12,
         "8 of the data, 4 was expected"},
        {"{" T("a", "F32", "[1]", "4", "0") "}", 4, "outside the file"},
        {"{" T("a", "F32", "[2]", "0", "4") "}", 4, "do not fit shape"},
        {"{" T("a", "F32", "[1]", "0", "18446744073709551615") "}", 4, "outside the file"},
        {"{" T("a", "F32", "[1]", "0", "18446744073709551616") "}", 4, "does not fit 64 bits"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, "does not fit 64 bits"},
        {"{" T("a", "F64", "[2305843009213693952]", "0", "0") "}", 0, "do not fit shape"},
        {"{" T("a", "F32", "[9223372036854775808,0]", "0", "0") "}", 0, "does not fit 64 bits"},
        {"{" T("a", "F32", "[-1]", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "[1.0]", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "[1e0]", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "[01]", "0", "4") "}", 4, "leading zero"},
        {"{" T("a", "F32", "[1,]", "0", "4") "}", 4, "whole number"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1]", "0", "4") "}", 4, "6 dimensions"},
        {"{\"a", 0, "without end"},
        {"{\"a\\", 0, "bad escape"},
        {"{\"\\x\":1}", 0, "bad escape"},
        {"{\"\\u00g0\":1}", 0, "bad \\u escape"},
        {"{\"\\u0000\":1}", 0, "not a character"},
        {"{\"\\ud800\":1}", 0, "surrogate"},
        {"{\"\\ud800\\u0041\":1}", 0, "surrogate"},
        {"{\"\\udc00\":1}", 0, "not a character"},
        {"{\"\xff\":1}", 0, "byte 10: not UTF-8"},
        {"{\"a\tb\":1}", 0, "control character"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "expected \""},
        {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "metadata key given twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "second __metadata__"},
        {"{\"__metadata__\":[]}", 0, "expected {"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(parse_text(rows[i].header, rows[i].data), MN_EDATA, "row %zu accepted", i);
        cr_expect(strstr(mn_errmsg(), rows[i].holds) && !strncmp(mn_errmsg(), "t: ", 3), "row %zu: %s", i, mn_errmsg());
    }
    cr_expect_eq(parse_text("{}", 0), MN_OK);
    cr_expect_eq(parse_text("{}", 1), MN_EDATA);
    cr_expect_eq(parse_text("{\"__metadata__\":{}}", 0), MN_OK);
}

Test(safetensors, refuses_impossible_lengths)
{
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63, 3, 100000001};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char bytes[10] = "........{}";
        memcpy(bytes, &lengths[i], 8);
        nn_safetensors *f;
        cr_expect_eq(nn_safetensors_parse(&f, bytes, 10, "t"), MN_EDATA);
    }
    nn_safetensors *f;
    cr_expect_eq(nn_safetensors_parse(&f, "1234567", 7, "t"), MN_EDATA);
    cr_expect_eq(nn_safetensors_parse(&f, "", 0, "t"), MN_EDATA);
}

Test(safetensors, refuses_more_tensors_than_it_has_room_for)
{
    enum { N = 140000 };
    char *text = malloc(N * 80 + 3), *at = text;
    *at++ = '{';
    for (int i = 0; i < N; i++)
        at += sprintf(at, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    strcpy(at, "}");
    cr_expect_eq(parse_text(text, 0), MN_EDATA);
    cr_expect(strstr(mn_errmsg(), "more than 131,072 tensors"), "%s", mn_errmsg());
    free(text);
}

// A file on disk, of the types it can hold, and back.
static void round_trip(nn_safetensors_dtype type)
{
    const char *path = "safetensors_test.safetensors";
    float weight[6] = {1, -2.5f, 3e-3f, 1e30f, 0, -0.0f}, bias[1] = {7}, got[6];
    nn_safetensor e[] = {{.name = "z \"quoted\" \xc3\xa9", .dtype = type, .shape = MN_SHAPE(2, 3)},
                         {.name = "a", .dtype = NN_SAFETENSORS_F32, .shape = {0}},
                         {.name = "none", .dtype = type, .shape = MN_SHAPE(0, 4)}};
    const nn_safetensors_pair pairs[] = {{"format", "pt"}, {"note", "line\none \\ \"two\""}};
    cr_assert_eq(nn_safetensors_write(path, e, (const float *[]){weight, bias, got}, 3, pairs, 2), MN_OK);
    nn_safetensors *f;
    cr_assert_eq(nn_safetensors_open(&f, path), MN_OK, "%s", mn_errmsg());
    cr_expect_str_eq(nn_safetensors_metadata(f, "note"), pairs[1].value);
    const nn_safetensor *t = nn_safetensors_find(f, e[0].name);
    cr_assert(t && mn_shape_equal(t->shape, e[0].shape) && t->dtype == type);
    cr_assert_eq(nn_safetensors_read_f32(f, t, got), MN_OK);
    for (int i = 0; i < 6; i++) {
        float want = type == NN_SAFETENSORS_BF16 ? mn_bf16_to_f32(mn_f32_to_bf16(weight[i])) : weight[i];
        cr_expect(got[i] == want && signbit(got[i]) == signbit(want), "%d: %g", i, (double)got[i]);
    }
    cr_assert_eq(nn_safetensors_read_f32(f, nn_safetensors_find(f, "a"), got), MN_OK);
    cr_expect_eq(got[0], 7);
    cr_expect(nn_safetensors_find(f, "none"));
    nn_safetensors_close(f);
    unlink(path);
}

Test(safetensors, round_trips)
{
    round_trip(NN_SAFETENSORS_F32);
    round_trip(NN_SAFETENSORS_BF16);
}

// The header's end is a multiple of 8 and spans are in the caller's order: other tools map the data.
Test(safetensors, header_is_padded_and_in_order)
{
    nn_safetensor e[] = {{.name = "z", .dtype = NN_SAFETENSORS_F32, .shape = MN_SHAPE(5)},
                         {.name = "a", .dtype = NN_SAFETENSORS_F32, .shape = MN_SHAPE(2)}};
    char *bytes;
    size_t size;
    cr_assert_eq(nn_safetensors_header(e, 2, NULL, 0, &bytes, &size), MN_OK);
    static const char want[] = "{\"z\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[0,20]},"
                               "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]}}";
    uint64_t length;
    memcpy(&length, bytes, 8);
    cr_expect(size % 8 == 0 && length == size - 8);
    cr_expect_eq(memcmp(bytes + 8, want, sizeof want - 1), 0);
    for (size_t i = 8 + sizeof want - 1; i < size; i++)
        cr_expect_eq(bytes[i], ' ');
    free(bytes);
    for (size_t n = 1; n < 18; n++) {
        nn_safetensor one = {.dtype = NN_SAFETENSORS_F32};
        memset(one.name, 'x', n);
        cr_assert_eq(nn_safetensors_header(&one, 1, NULL, 0, &bytes, &size), MN_OK);
        cr_expect_eq(size % 8, 0);
        free(bytes);
    }
}

Test(safetensors, refuses_values_that_are_not_finite)
{
    float bad[3] = {1, NAN, 2};
    nn_safetensor e = {.name = "w", .dtype = NN_SAFETENSORS_F32, .shape = MN_SHAPE(3)};
    const char *path = "safetensors_nan.safetensors";
    cr_assert_eq(nn_safetensors_write(path, &e, (const float *[]){bad}, 1, NULL, 0), MN_OK);
    nn_safetensors *f;
    cr_assert_eq(nn_safetensors_open(&f, path), MN_OK);
    cr_expect_eq(nn_safetensors_read_f32(f, nn_safetensors_at(f, 0), bad), MN_EDATA);
    cr_expect(strstr(mn_errmsg(), "'w' has a value that is not a finite number at element 1"));
    nn_safetensors_close(f);
    cr_expect_eq(truncate(path, 100), 0);
    cr_expect_eq(nn_safetensors_open(&f, path), MN_EDATA);
    unlink(path);
    cr_expect_eq(nn_safetensors_open(&f, path), MN_ENOINPUT);
}
