"""Goldens of the relative position table's resizing: the procedure of SimMIM's utils.py with scipy's bivariate spline.

    python bias_table.py
"""

import os

import numpy as np
from safetensors.numpy import save_file
from scipy.interpolate import RectBivariateSpline

import golden

HERE = os.path.dirname(os.path.abspath(__file__))
HEADS = 3
WINDOWS = [(6, 7), (12, 14), (6, 8), (6, 12), (7, 6), (4, 3), (3, 4)]


def ratio(reach, target):
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        if (1 - q**reach) / (1 - q) > target:
            high = q
        else:
            low = q
    return q


def resize(table, target):
    reach = table.shape[0] // 2
    d = np.cumsum(ratio(reach, target // 2) ** np.arange(reach))
    x = np.concatenate([-d[::-1], [0], d])
    t = np.arange(target) - target // 2
    return np.stack([RectBivariateSpline(x, x, table[:, :, h])(t, t) for h in range(HEADS)], -1)


def main():
    stored = {}
    for source, target in WINDOWS:
        table = golden.values(f"input.table.{source}", (2 * source - 1, 2 * source - 1, HEADS)).astype(np.float64)
        stored[f"{source}to{target}"] = resize(table, 2 * target - 1).astype(np.float32)
    save_file(stored, os.path.join(HERE, "bias_table.safetensors"))


if __name__ == "__main__":
    main()
