"""torchvision's decoder with transforms.v2, in process: what `mien bench loader` is compared with.

    pip install torch torchvision
    python loader_torchvision.py DIR [--seconds 5] [--size 192] [--threads 1] [--json]

DIR holds the JPEGs that `mien bench loader --write DIR` wrote. Bytes are read beforehand, as there: what is measured is
decode, random resized crop (0.67..1, bilinear, antialiased), flip, float and normalisation, stacked into batches of 32.
"""

import argparse
import glob
import json
import os
import time

import torch
import torchvision
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

BATCH = 32


def pictures(folder):
    files = sorted(glob.glob(os.path.join(folder, "*.jpg")))
    if not files:
        raise SystemExit(f"{folder}: no .jpg files")
    return [torch.frombuffer(bytearray(open(f, "rb").read()), dtype=torch.uint8) for f in files]


def pipeline(size):
    return v2.Compose([
        v2.RandomResizedCrop(size, scale=(0.67, 1.0), ratio=(3 / 4, 4 / 3), antialias=True),
        v2.RandomHorizontalFlip(0.5),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ])


def batch(stored, transform, at):
    rows = [transform(decode_jpeg(stored[(at + i) % len(stored)], mode=ImageReadMode.RGB)) for i in range(BATCH)]
    return torch.stack(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stored, transform = pictures(options.folder), pipeline(options.size)
    batch(stored, transform, 0)
    rows, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < options.seconds:
        batch(stored, transform, rows)
        rows += BATCH
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    result = {"rows": rows, "seconds": seconds, "rows_per_s": rows / seconds, "rows_per_cpu_s": rows / cpu,
              "torch": torch.__version__, "torchvision": torchvision.__version__}
    print(json.dumps(result) if options.json else
          f"{rows / seconds:.0f} pictures/s, {rows / cpu:.0f} a core second (torchvision {torchvision.__version__})")


if __name__ == "__main__":
    main()
