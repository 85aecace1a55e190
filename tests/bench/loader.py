#!/usr/bin/env python3
"""Times `mien bench loader` beside PyTorch's loaders, all on one core, in alternating rounds, so that a machine that
changes its speed changes all of them; and on two cores beside one. Prints median and quartiles of the ratios (our rate
over theirs: above 1, we are faster).

    python3 tests/bench/loader.py --mien build/release/mien --peer-python ~/torch-env/bin/python3 [--rounds 7]
"""
import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PEERS = {"torchvision, in process": ["--pipeline", "torchvision"], "Pillow and v2, in process": ["--pipeline", "pil-v2"],
         "Pillow, in process": ["--pipeline", "pil"],
         "DataLoader, 2 workers, torchvision": ["--pipeline", "torchvision", "--workers", "2"],
         "DataLoader, 2 workers, Pillow": ["--pipeline", "pil", "--workers", "2"]}
STRONG = {"timm, in process": ["--pipeline", "timm"],
          "DataLoader, 2 workers, timm": ["--pipeline", "timm", "--workers", "2"]}


class Side:
    """A program that stays loaded. It is stopped while it is not asked: workers of a DataLoader work ahead."""

    def __init__(self, command, cores):
        self.process = subprocess.Popen(["taskset", "-c", cores, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True,
                                        env=dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive",
                                                 PYTHONWARNINGS="ignore"))
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"did not start: {' '.join(command)}")
        self.signal(signal.SIGSTOP)

    def signal(self, what):
        os.killpg(self.process.pid, what)

    def ask(self, seconds):
        self.signal(signal.SIGCONT)
        if seconds > 0.2:
            self.line(0.2)  # what had been worked ahead is not this round's
        answer = self.line(seconds)
        self.signal(signal.SIGSTOP)
        return answer

    def line(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def text(values):
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def compare(args, side, size, strong, folder):
    ours = [args.mien, "bench", "loader", "--serve", "--side", str(side), "--size", str(size), "--batch", "32"]
    ours += ["--strong"] if strong else []
    known = STRONG if strong else PEERS
    one = Side(ours + ["--threads", "1", "--write", folder], args.cores.split(",")[0])
    two = Side(ours + ["--threads", "2"], args.cores)
    names = [name for name in known if not args.peers or name.startswith(tuple(args.peers.split(",")))]
    peers = {name: Side([args.peer_python, str(HERE / "peers/loader.py"), folder, "--size", str(size), *known[name]],
                        args.cores.split(",")[0]) for name in names}
    mine, doubled, rates = [], [], {name: [] for name in names}
    for _ in range(args.rounds):
        mine.append(one.ask(args.seconds))
        doubled.append(two.ask(args.seconds))
        for name in names:
            rates[name].append(peers[name].ask(args.seconds))
    for each in (one, two, *peers.values()):
        each.close()
    speed = [m["pictures_per_s"] for m in mine]
    print(f"{side} px, {mine[0]['jpeg_bytes']} bytes -> {size} px{', RandAugment and erasing' if strong else ''}: "
          f"{statistics.median(speed):.0f} pictures/s; of the time "
          + ", ".join(f"{k} {statistics.median(m['share'][k] for m in mine):.0f} %" for k in mine[0]["share"]))
    print(f"    over whole pictures decoded and then cropped: "
          f"{text([m['pictures_per_s'] / m['whole_decode_and_crop_per_s'] for m in mine])}")
    for name in names:
        print(f"    over {name} ({statistics.median(rates[name]):.0f}/s): "
              f"{text([m / r for m, r in zip(speed, rates[name])])}")
    print(f"    two threads on two cores over one on one: "
          f"{text([d['pictures_per_s'] / m for d, m in zip(doubled, speed)])}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mien", default="build/release/mien")
    p.add_argument("--peer-python", default="python3")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--seconds", type=float, default=0.6)
    p.add_argument("--cores", default="0,1")
    p.add_argument("--sizes", default="250:192,112:192,112:112,250:224:strong",
                   help="side of the JPEGs : side in the batch [: strong, with RandAugment and random erasing], ...")
    p.add_argument("--peers", default="", help="beginnings of the names of those to compare with; empty: all")
    args = p.parse_args()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        print(next(line for line in f if line.startswith("model name")).split(":")[1].strip())
    for item in args.sizes.split(","):
        side, size, *strong = item.split(":")
        with tempfile.TemporaryDirectory() as folder:
            compare(args, int(side), int(size), strong == ["strong"], folder)


if __name__ == "__main__":
    main()
