#!/usr/bin/env python3
"""Does training wait for data? SimMIM pre-training of Swin-T on one core, the loader on another, real pictures from
shards: how much of a step is data_ms of metrics.jsonl (the mean over ranks of the time spent waiting for a batch).

    python3 tests/bench/loader_wait.py --mien build/release/mien --data build/demo/shards [--set celeba] [--batch 8]
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mien", default="build/release/mien")
    p.add_argument("--data", default="build/demo/shards")
    p.add_argument("--set", default="celeba")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--dtype", default="bf16")
    args = p.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [args.mien, "train", str(ROOT / "recipes/simmim/swin_t.yaml"), f"paths.data={args.data}",
             f"paths.runs={folder}", "run=wait", "threads=1", f"data=[{{set: {args.set}, split: train}}]",
             f"precision={args.dtype}", f"train.batch={args.batch}", "train.epochs=0", f"train.steps={args.steps}",
             "train.loader_threads=1", "eval.split="], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with open(pathlib.Path(folder) / "wait" / "metrics.jsonl", encoding="utf-8") as f:
            steps = [e for e in map(json.loads, f) if e["event"] == "step"][2:]
    wait = [100 * e["data_ms"] / e["step_ms"] for e in steps]
    print(f"SimMIM Swin-T batch {args.batch}, {args.dtype}, 1 thread and 1 of the loader: step "
          f"{statistics.median(e['step_ms'] for e in steps):.0f} ms, waiting for data {statistics.median(wait):.3f} % "
          f"(median), {max(wait):.3f} % (largest of {len(steps)} steps)")


if __name__ == "__main__":
    main()
