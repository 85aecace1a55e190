#include "data/video_name.h"

#include <string.h>

size_t data_video_stem(const char *name, int *subject)
{
    static const struct {
        const char *text;
        int subject;
    } suffix[] = {{"_left", 1}, {"_right", 2}, {"_left_side", 1}, {"_right_side", 2}};
    size_t n = strlen(name);
    if (subject) *subject = 0;
    for (size_t i = 0; i < sizeof(suffix) / sizeof(suffix[0]); i++) {
        size_t k = strlen(suffix[i].text);
        if (n <= k || memcmp(name + n - k, suffix[i].text, k) != 0) continue;
        if (subject) *subject = suffix[i].subject;
        return n - k;
    }
    return n;
}
