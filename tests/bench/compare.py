#!/usr/bin/env python3
"""Times mien beside PyTorch: both programs stay loaded and are asked for a few steps in turn, so that a machine that
changes its speed changes both. Prints median and quartiles of the ratios (PyTorch's seconds over ours: above 1, we are
faster) for each model, precision and thread count, against the faster of eager and compiled.

    python3 tests/bench/compare.py --mien build/release/mien --peer-python ~/torch-env/bin/python3 [--rounds 7]
"""
import argparse
import os
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent


class Side:
    def __init__(self, command, threads):
        env = dict(os.environ, OMP_WAIT_POLICY="passive", OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"did not start: {' '.join(command)}")

    def steps(self, n):
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        return statistics.median(float(x) for x in self.process.stdout.readline().split())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(args, model, batch, dtype, threads):
    ours = Side([args.mien, "bench", "step", "--model", model, "--batch", str(batch), "--precision", dtype, "--serve"],
                threads)
    peer = [args.peer_python, str(HERE / "peers/step.py"), "--model", model, "--batch", str(batch), "--dtype", dtype,
            "--threads", str(threads)]
    peers = {"eager": Side(peer, threads)}
    if args.compiled:
        peers["compiled"] = Side(peer + ["--compile"], threads)
    mine, theirs = [], {name: [] for name in peers}
    for _ in range(args.rounds):
        for name, side in peers.items():
            theirs[name].append(side.steps(args.steps))
        mine.append(ours.steps(args.steps))
    for side in (ours, *peers.values()):
        side.close()
    best = min(theirs, key=lambda name: statistics.median(theirs[name]))
    ratios = sorted(t / m for t, m in zip(theirs[best], mine))
    low, middle, high = (statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3)
    print(f"{model:9} batch {batch:3} {dtype} {threads} threads: mien {1e3 * statistics.median(mine):8.1f} ms, "
          f"PyTorch {best} {1e3 * statistics.median(theirs[best]):8.1f} ms, ratio {middle:.2f} ({low:.2f} to {high:.2f})",
          flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mien", default="build/release/mien")
    p.add_argument("--peer-python", default="python3")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=2)
    p.add_argument("--models", default="simmim:8,wav2vec2:1,cca:8")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--no-compiled", dest="compiled", action="store_false")
    args = p.parse_args()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        print(next(line for line in f if line.startswith("model name")).split(":")[1].strip())
    for item in args.models.split(","):
        model, batch = item.split(":")
        for dtype in ("fp32", "bf16"):
            compare(args, model, int(batch), dtype, args.threads)


if __name__ == "__main__":
    main()
