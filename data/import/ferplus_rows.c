#include "data/import/ferplus_rows.h"

#include <stdio.h>

enum { VOTERS = 10, NO_EXPRESSION = 8 };

// Of neutral happiness surprise sadness anger disgust fear contempt; Contempt is Other.
static const int8_t expression_of[NO_EXPRESSION] = {0, 4, 6, 5, 1, 2, 3, 7};

data__reason data__fer_pixels(data__text t, uint8_t pixels[DATA__FER_PIXELS], char *detail, size_t size)
{
    int64_t n = 0;
    for (data__text field; data__field(&t, ' ', &field); n++) {
        unsigned v = 0;
        size_t i = 0;
        while (i < field.n && field.p[i] >= '0' && field.p[i] <= '9' && v < 256)
            v = v * 10 + (unsigned)(field.p[i++] - '0');
        if (i < field.n || v > 255) {
            (void)snprintf(detail, size, "pixel %lld: '%.*s'", (long long)n + 1, field.n > 16 ? 16 : (int)field.n,
                           field.p);
            return DATA__REJECT_NUMBER;
        }
        if (n < DATA__FER_PIXELS) pixels[n] = (uint8_t)v;
    }
    if (n == DATA__FER_PIXELS) return DATA__REASON_COUNT;
    (void)snprintf(detail, size, "%lld pixels, not %d", (long long)n, DATA__FER_PIXELS);
    return DATA__REJECT_COLUMNS;
}

data__reason data__fer_votes(const data__text *fields, uint8_t votes[DATA_VOTES], char *detail, size_t size)
{
    int64_t sum = 0;
    for (int i = 0; i < DATA_VOTES; i++) {
        int64_t v;
        int number = data__integer(fields[i], &v);
        if (!number || v < 0 || v > VOTERS) {
            (void)snprintf(detail, size, "votes '%.*s'", fields[i].n > 16 ? 16 : (int)fields[i].n, fields[i].p);
            return number ? DATA__REJECT_RANGE : DATA__REJECT_NUMBER;
        }
        votes[i] = (uint8_t)v;
        sum += v;
    }
    if (sum > 0 && sum <= VOTERS) return DATA__REASON_COUNT; // 9 occurs
    (void)snprintf(detail, size, "%lld votes in all", (long long)sum);
    return DATA__REJECT_RANGE;
}

int8_t data__fer_expression(const uint8_t votes[DATA_VOTES])
{
    int most = 0, again = 0;
    for (int i = 1; i < DATA_VOTES; i++) {
        again = votes[i] == votes[most] || (again && votes[i] < votes[most]);
        if (votes[i] > votes[most]) most = i;
    }
    return again || most >= NO_EXPRESSION ? -1 : expression_of[most];
}
