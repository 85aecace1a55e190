#!/usr/bin/env python3
"""Times mien beside PyTorch on one GPU: all programs are loaded at once and asked for a few steps in turn, so that a GPU
that changes its clock changes them all. Prints one line of a Markdown table for each model, and why a program is
missing from it. Every program feeds its batch from pinned memory in each step and is waited for once per turn.

    python3 tests/bench/gpu.py --mien build/release/mien [--peer-python python3] [--models cca:32,simmim_b:128]

Columns: milliseconds a step (median over the turns), samples a second, 10^12 operations a second and their share of
--peak, PyTorch eager and compiled (the better of the default mode and CUDA graphs), ratio = their time over ours (median,
quartiles), seconds from the start of the process to the first step with the algorithm choices to be made / kept, memory
planned and taken.
"""
import argparse
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class Side:
    """A program that answers a number of steps with the seconds of each; `why` says why it cannot."""

    def __init__(self, name, command):
        self.name, self.times, self.why = name, [], None
        self.log = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                            bufsize=0)
        except OSError as e:
            self.process, self.why = None, str(e)

    def line(self, deadline):
        text = b""
        while not text.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                self.stop("too slow")
                return ""
            byte = self.process.stdout.read(1)
            if not byte:
                self.stop("ended")
                return ""
            text += byte
        return text.decode().strip()

    def stop(self, why):
        self.process.kill()
        self.process.wait()
        self.log.seek(0)
        words = self.log.read().strip().splitlines()
        self.why = f"{why}: {words[-1][:160]}" if words else why

    def wait_ready(self, deadline):
        if not self.why and self.line(deadline) != "ready" and not self.why:
            self.stop("did not say 'ready'")

    def steps(self, n, deadline):
        if self.why:
            return
        try:
            self.process.stdin.write(f"{n}\n".encode())
        except OSError:
            self.stop("ended")
            return
        answer = self.line(deadline).split()
        if answer:
            self.times.append(statistics.fmean(float(x) for x in answer))

    def close(self):
        """-> its last word on stderr: PyTorch's version, time to prepare and memory."""
        if not self.process or self.why:
            return self.why
        self.process.stdin.close()
        self.process.wait()
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or [""])[-1]

    def ms(self):
        return f"{1e3 * statistics.median(self.times):.2f}" if self.times and not self.why else "-"


def ours_alone(args, model, batch, dtype, limit):
    """One run with an empty cache of algorithm choices and one after it; the figures of the second."""
    command = [args.mien, "bench", "step", "--device", args.device, "--model", model, "--batch", batch, "--precision",
               dtype, "--rounds", str(args.steps), "--json"] + (["--peak", str(args.peak)] if args.peak else [])
    starts, figures = [], None
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            try:
                run = subprocess.run(command, env=dict(os.environ, XDG_CACHE_HOME=cache), capture_output=True, text=True,
                                     check=False, timeout=limit)
            except subprocess.TimeoutExpired:
                return None, ["too slow"]
            if run.returncode != 0:
                return None, run.stderr.strip().splitlines()[-1:]
            figures = json.loads(run.stdout)
            starts.append(f"{figures['start_s']:.1f}")
    return figures, starts


def ratio(ours, theirs):
    if not ours.times or not theirs or theirs.why:
        return "-"
    values = sorted(t / m for t, m in zip(theirs.times, ours.times))
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def open_sides(args, model, batch, dtype, deadline):
    """In the order of who is to go without when the GPU's memory is not enough for all: the last."""
    ours = Side("mien", [args.mien, "bench", "step", "--device", args.device, "--model", model, "--batch", batch,
                         "--precision", dtype, "--serve"])
    ours.wait_ready(deadline)
    peer = [args.peer_python, str(HERE / "peers/step.py"), "--model", model, "--batch", batch, "--dtype", dtype, "--device",
            args.device]
    peers = [Side("eager", peer)] if args.peers else []
    if args.peers and args.compiled:
        peers.append(Side("compiled", peer + ["--compile"]))
    for side in peers:
        side.wait_ready(deadline)
    if args.peers and args.compiled and args.device == "cuda":
        peers.append(Side("with CUDA graphs", peer + ["--compile", "--mode", "reduce-overhead"]))
        peers[-1].wait_ready(deadline)
    return [ours, *peers]


def compare(args, model, batch, dtype, limit):
    """limit: seconds; a quarter is kept for the steps, whatever time others take to compile."""
    deadline = time.monotonic() + limit
    figures, starts = ours_alone(args, model, batch, dtype, limit)
    if not figures:
        print(f"| {model} | {batch} | {dtype} | failed: {' '.join(starts)} |" + " |" * 7, flush=True)
        return False
    sides = open_sides(args, model, batch, dtype, deadline - limit / 4)
    ours, peers = sides[0], sides[1:]
    took = 0
    for _ in range(args.rounds):
        start = time.monotonic()
        if start + 1.5 * took > deadline:
            break
        for side in sides:
            side.steps(args.steps, deadline)
        took = time.monotonic() - start
    for side in sides:
        word = side.close()
        if word:
            print(f"{model} {dtype}, {side.name}: {word}", file=sys.stderr, flush=True)
    eager = next((p for p in peers if p.name == "eager"), None)
    compiled = min((p for p in peers if p.name != "eager" and p.times and not p.why),
                   key=lambda p: statistics.median(p.times), default=None)
    seconds = statistics.median(ours.times) if ours.times else figures["ms"] / 1e3
    tflops = figures["tflops"] * figures["ms"] / 1e3 / seconds
    share = f" ({100 * tflops / args.peak:.0f} %)" if args.peak else ""
    mib = [figures[k] / 2**20 for k in ("planned_bytes", "used_bytes")]
    print(f"| {model} | {batch} | {dtype} | {1e3 * seconds:.2f} | {int(batch) / seconds:.0f} | {tflops:.1f}{share} | "
          f"{eager.ms() if eager else '-'} | {compiled.ms() + ' ' + compiled.name if compiled else '-'} | "
          f"{ratio(ours, eager)}; {ratio(ours, compiled)} | {' / '.join(starts)} | {mib[0]:.0f}, {mib[1]:.0f} |", flush=True)
    return not ours.why


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mien", default="build/release/mien")
    p.add_argument("--peer-python", default="python3")
    p.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    p.add_argument("--models", default="cca:32,wav2vec2:8,simmim_b:128")
    p.add_argument("--types", default="bf16")
    p.add_argument("--peak", type=float, default=0, help="10^12 operations a second")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--limit", type=float, default=570,
                   help="seconds for all models, compilation included; what one leaves is for those after it")
    p.add_argument("--no-compiled", dest="compiled", action="store_false")
    p.add_argument("--no-peers", dest="peers", action="store_false")
    args = p.parse_args()
    print("| model | batch | type | mien ms | samples/s | TFLOP/s | eager ms | compiled ms | ratio to eager; compiled | "
          "first step s | MiB planned, taken |")
    print("|" + "---|" * 11)
    runs = [(*item.split(":"), dtype) for item in args.models.split(",") for dtype in args.types.split(",")]
    end, good = time.monotonic() + args.limit, []
    for i, run in enumerate(runs):
        good.append(compare(args, *run, max(1, (end - time.monotonic()) / (len(runs) - i))))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
