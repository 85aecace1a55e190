"""Tables of IMDB-WIKI by scipy.io.savemat: the rows of tests/data/mat_test.c, between two other variables.

    python mat.py
"""

import os

import numpy as np
from scipy.io import savemat

HERE = os.path.dirname(os.path.abspath(__file__))
PATHS = ["01/a.j", "02/é김_😀.j", "", "9/xyz_long1", "b"]
FIELDS = ["celeb_id", "full_path", "name", "face_location", "dob", "second_face_score", "gender", "photo_taken", "face_score"]
INDEX = {"dob": 0, "photo_taken": 1, "gender": 3, "face_score": 6, "second_face_score": 7, "celeb_id": 9}


def cells(values):
    out = np.empty((1, len(values)), dtype=object)
    for i, v in enumerate(values):
        out[0, i] = v
    return out


def value(field):
    rows = [[float(INDEX[field] * 10 + i) for i in range(5)]]
    if field == "second_face_score":
        rows[0][1::2] = [np.nan, np.nan]
    return np.array(rows)


table = {}
for name in FIELDS:  # not in the publisher's order
    if name == "face_location":
        boxes = [np.array([[i + 1, i + 2, i + 30, i + 40]], dtype=np.uint8 if i == 4 else np.float64) for i in range(5)]
        boxes[3] = np.zeros((0, 0))
        table[name] = cells(boxes)
    else:
        table[name] = value(name) if name in INDEX else cells(PATHS)
for packed in (False, True):
    path = os.path.join(HERE, "mat_packed.mat" if packed else "mat_plain.mat")
    savemat(path, {"before": np.arange(12.0), "imdb": table, "imdb_after": {"x": "y"}}, do_compression=packed,
            oned_as="row")
    with open(path, "r+b") as f:  # scipy's header has the time in it
        f.write(b"MATLAB 5.0 MAT-file, written by scipy".ljust(116))
