// Faces cut out of their pictures by a box of the dataset (`--crop`): where. Pure functions.
#ifndef DATA_IMPORT_CUT_H
#define DATA_IMPORT_CUT_H

typedef enum data__cut_kind {
    DATA__CUT_NOTHING, // not asked for, or this picture is a face already
    DATA__CUT_NO_BOX,  // there is no box, or none that has an area
    DATA__CUT_OUTSIDE, // the box has no part of the picture in it
    DATA__CUT_FACE
} data__cut_kind;

typedef struct data__cut {
    data__cut_kind kind;
    int x, y, width, height; // whole pixels, in the picture
} data__cut;

// box: x, y, width, height in the picture as it is shown (EXIF orientation applied), NaN: none; it may leave the picture.
// Cut out is a square around the middle of the box, as long as its longer side and `margin` of that on either side, as
// far as there is a picture: it is not padded, so at an edge it is no square.
data__cut data__cut_of(const float box[4], double margin, int width, int height);

#endif
