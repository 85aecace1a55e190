#!/usr/bin/env python3
"""What a second rank is worth: SimMIM pre-training of Swin-T on 1 and on 2 ranks of one thread each, the same batch per
rank, real pictures from shards, alternating rounds. Prints samples/s and the ratio, median and quartiles.

    python3 tests/bench/ranks.py --mien build/release/mien --data build/demo/shards [--rounds 7] [--batch 8]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def samples_per_second(args, runs, name, ranks):
    command = ["mpirun", "-n", str(ranks), "--bind-to", "none", args.mien, "train", str(ROOT / "recipes/simmim/swin_t.yaml"),
               f"paths.data={args.data}", f"paths.runs={runs}", f"run={name}", "threads=1", "data=[{set: celeba, split: train}]",
               f"precision={args.dtype}", f"train.batch={args.batch * ranks}", f"train.epochs=0",
               f"train.steps={args.steps}", "train.loader_threads=1", "eval.split="]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with open(runs / name / "metrics.jsonl", encoding="utf-8") as f:
        speeds = [e["samples_per_s"] for e in map(json.loads, f) if e["event"] == "step"]
    return statistics.median(speeds[2:])  # the first steps touch memory for the first time


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mien", default="build/release/mien")
    p.add_argument("--data", default="build/demo/shards")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--dtype", default="fp32")
    args = p.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    one, two = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.rounds):
            one.append(samples_per_second(args, pathlib.Path(folder), f"one-{i}", 1))
            two.append(samples_per_second(args, pathlib.Path(folder), f"two-{i}", 2))
    low, middle, high = statistics.quantiles([b / a for a, b in zip(one, two)], n=4)
    print(f"SimMIM Swin-T batch {args.batch} a rank, {args.dtype}, 1 thread a rank: 1 rank {statistics.median(one):.2f} samples/s, "
          f"2 ranks {statistics.median(two):.2f}, ratio {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
