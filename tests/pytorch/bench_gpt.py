"""Times a training step of the GPT: Kiln's and PyTorch's by turns. Prints one JSON object.

    cargo build --release
    python tests/pytorch/bench_gpt.py [--threads 2] [--rounds 5] [--repeat 20]

Both do forward, backward, clipping by norm and AdamW on a batch of 16 windows of 128 bytes, in f32. A round is `kiln
bench` and then as many steps of PyTorch, so that the noise of a shared machine meets them alike; compare minima,
from one run.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import time

import torch

import gpt

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH, CONTEXT = 16, 128
WARMUP = 3


def training_step():
    """A function that does one training step in PyTorch."""
    text = torch.randint(ord("a"), ord("z") + 1, (BATCH, CONTEXT + 1))
    token, label = text[:, :-1], text[:, 1:]
    model = gpt.GPT(context=CONTEXT).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step():
        optimizer.zero_grad()
        gpt.loss(model(token), label).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def kiln(threads, repeat):
    """Least and median milliseconds of Kiln's training step."""
    command = [
        ROOT / "target/release/kiln", "bench", ROOT / "dsl/models/gpt.kiln", "--train", "--json",
        "--threads", str(threads), "--repeat", str(repeat), "--set", f"batch={BATCH}", "--set", f"T={CONTEXT}",
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report["min_ms"], report["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--repeat", type=int, default=20, metavar="K", help="steps of each in a round")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    step = training_step()
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(kiln(args.threads, args.repeat))
        for turn in range(WARMUP + args.repeat):
            start = time.perf_counter()
            step()
            if turn >= WARMUP:
                theirs.append((time.perf_counter() - start) * 1e3)
    least, median = min(o[0] for o in ours), statistics.median(o[1] for o in ours)
    print(json.dumps({
        "torch": torch.__version__,
        "threads": args.threads,
        "kiln": {"min_ms": round(least, 3), "median_ms": round(median, 3)},
        "pytorch": {"min_ms": round(min(theirs), 3), "median_ms": round(statistics.median(theirs), 3)},
        "ratio_of_minima": round(least / min(theirs), 3),
    }, indent=2))


if __name__ == "__main__":
    main()
