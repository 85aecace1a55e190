#include "data/import/cut.h"

#include "data/import/importer.h"

#include <math.h>
#include <stdio.h>

// The part of [from, to) that is in [0, length), in whole pixels; at least one.
static void clamp(double from, double to, int length, int *start, int *size)
{
    double low = floor(fmin(fmax(from, 0), length - 1)), high = ceil(fmin(fmax(to, 1), length));
    *start = (int)low;
    *size = high - low < 1 ? 1 : (int)(high - low);
}

static int has_area(const float box[4])
{
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]) && box[2] > 0 && box[3] > 0;
}

static int touches(const float box[4], int width, int height)
{
    return box[0] < (float)width && box[1] < (float)height && box[0] + box[2] > 0 && box[1] + box[3] > 0;
}

data__cut data__cut_of(const float box[4], double margin, int width, int height)
{
    data__cut c = {.kind = DATA__CUT_FACE};
    if (!has_area(box)) return (data__cut){.kind = DATA__CUT_NO_BOX};
    if (!touches(box, width, height)) return (data__cut){.kind = DATA__CUT_OUTSIDE};
    double half = fmax((double)box[2], (double)box[3]) * (0.5 + margin);
    double x = (double)box[0] + (double)box[2] / 2, y = (double)box[1] + (double)box[3] / 2;
    clamp(x - half, x + half, width, &c.x, &c.width);
    clamp(y - half, y + half, height, &c.y, &c.height);
    return c;
}

int data__import_box(data__import *im, const float box[4], const char *file, int64_t row)
{
    const float right = box[0] + box[2], bottom = box[1] + box[3], width = (float)im->width, height = (float)im->height;
    char detail[128];
    if (has_area(box) && touches(box, im->width, im->height)) {
        if (box[0] < 0 || box[1] < 0 || right > width || bottom > height) data__import_note(im, DATA__NOTE_BOX_OVER, 1);
        return 1;
    }
    (void)snprintf(detail, sizeof(detail), "left %g top %g right %g bottom %g in %d x %d pixels", (double)box[0],
                   (double)box[1], (double)right, (double)bottom, im->width, im->height);
    data__import_reject(im, DATA__REJECT_BOX, file, row, detail);
    return 0;
}
