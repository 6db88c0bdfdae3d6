"""Times PyTorch's LeNet: the training step at batch 64 and inference at batch 1. Prints one JSON object.

    python tests/pytorch/bench_lenet.py [--threads 2] [--repeat 200]

The step is forward with dropout, backward and SGD with momentum and weight decay. The memory formats take
turns, repeat by repeat, so that the noise of a shared machine meets them alike; compare minima, from one run.
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn import functional as F

from lenet import MOMENTUM, WEIGHT_DECAY, LeNet, digit_batch

FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
BATCH = 64
WARMUP = 10


def training_step(layout):
    """A function that does one training step in the memory format `layout`."""
    image, label = map(torch.from_numpy, digit_batch(BATCH, seed=1))
    image = image.to(memory_format=layout)
    model = LeNet().to(memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(image), label).backward()
        optimizer.step()

    return step


def inference(layout):
    """A function that computes the probabilities of one image in the memory format `layout`."""
    image = torch.from_numpy(digit_batch(2, seed=1)[0][:1]).to(memory_format=layout)
    model = LeNet().to(memory_format=layout).eval()

    @torch.inference_mode()
    def run():
        return model(image).softmax(1)

    return run


def timed(build, repeat):
    """{format: {"min_ms", "median_ms"}} of what `build` makes for each memory format."""
    runs = {name: build(layout) for name, layout in FORMATS.items()}
    milliseconds = {name: [] for name in runs}
    for turn in range(WARMUP + repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= WARMUP:
                milliseconds[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"min_ms": round(min(ms), 4), "median_ms": round(statistics.median(ms), 4)}
        for name, ms in milliseconds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--repeat", type=int, default=200, metavar="R")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    print(json.dumps({
        "torch": torch.__version__,
        "threads": args.threads,
        "repeat": args.repeat,
        f"training_step_batch_{BATCH}": timed(training_step, args.repeat),
        "inference_batch_1": timed(inference, args.repeat),
    }, indent=2))


if __name__ == "__main__":
    main()
