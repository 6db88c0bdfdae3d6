"""Writes tests/fixtures/lenet_small: what PyTorch computes for tests/fixtures/lenet_small.kiln.

    python tests/pytorch/make_fixtures.py [--output DIR] [--seed S]

tests/fixtures/README.md describes the files. One thread and fixed seeds: on one machine and one version of
PyTorch every run writes the same bytes; elsewhere the last bits may differ.
"""

import argparse
import copy
import pathlib
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

from lenet import LeNet, digit_batch, gradients, relative_max, relative_norm, sensitivity, state, train

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "lenet_small"
BATCH = 8
LR = 0.05  # as in lenet_small.kiln
STEPS = 100
SAVED = (20, 100)


def compute(model, image, label):
    """Everything recorded about `model`, in the model's own precision."""
    with torch.no_grad():
        logits = model(torch.from_numpy(image).to(model.fc2.weight.dtype))
    record = {"logits": logits.numpy(), "prob": logits.softmax(1).numpy(), "weights": {}}

    def after_step(done):
        if done == 1:
            record["grads"] = gradients(model)
        if done in SAVED:
            record["weights"][done] = state(model)

    record["losses"] = train(model, image, label, STEPS, LR, after_step)
    return record


def differences(single, double):
    """How far f32 strays from f64, by kind of result."""
    worst = lambda a, b: max(relative_norm(a[name], b[name]) for name in b)
    return {
        "logits": relative_norm(single["logits"], double["logits"]),
        "gradients": worst(single["grads"], double["grads"]),
        "losses": relative_max(single["losses"], double["losses"]),
        **{f"weights after {k} steps": worst(single["weights"][k], double["weights"][k]) for k in SAVED},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--seed", type=int, default=3, metavar="S", help="of weights, images and labels")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model = LeNet(conv1=4, conv2=6, fc1=16, dropout=0.0)
    weights = state(model)
    image, label = digit_batch(BATCH, args.seed)
    noise = sensitivity(model, image, label, STEPS, LR)
    double = compute(copy.deepcopy(model).double(), image, label)
    single = compute(model, image, label)

    print(f"torch {torch.__version__}, seed {args.seed}; f32 against f64:")
    noise = {**differences(single, double), "losses, weights altered by 3e-7": noise}
    for name, difference in noise.items():
        print(f"  {name:32} {difference:.1e}")
    if max(noise.values()) > 5e-5:
        sys.exit("rounding moves this too far for a fixture: choose another --seed")

    args.output.mkdir(parents=True, exist_ok=True)
    save_file(weights, args.output / "weights.safetensors")
    np.save(args.output / "image.npy", image)
    np.save(args.output / "label.npy", label)
    for suffix, record in ("", single), ("_f64", double):
        np.save(args.output / f"logits{suffix}.npy", record["logits"])
        np.save(args.output / f"prob{suffix}.npy", record["prob"])
        np.save(args.output / f"loss{suffix}.npy", record["losses"][:1])
        np.save(args.output / f"losses{suffix}.npy", record["losses"])
        save_file(record["grads"], args.output / f"grads{suffix}.safetensors")
    for done in SAVED:
        save_file(single["weights"][done], args.output / f"weights_{done}.safetensors")


if __name__ == "__main__":
    main()
