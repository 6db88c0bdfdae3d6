"""Compares Kiln's networks at their full sizes with torchvision's, or with PyTorch's where torchvision has none.

    cargo build --release
    python tests/pytorch/compare_networks.py --kiln target/release/kiln [--steps 20] [--json FILE] [NAME ...]

Both start from the same weights, which Kiln reads under PyTorch's names by the network's table, and work on the same
batch, without dropout: the results of inference, every gradient, running statistics after one step, the losses of all
steps. Prints a line for each network; exits 1 if a difference is over its limit.

The differences are those of two f32 computations. Behind each stands how far PyTorch's own results move at most when every
weight is altered by 3e-7 of itself, about the rounding of another order of summation, three times in different ways: at full
size a ReLU or a maximum somewhere falls on the other side of its kink. A difference is over its limit if it is more than
the limit and than that.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torchvision.models as vision
from safetensors.numpy import load_file, save_file

from lenet import LeNet
from make_network_fixtures import LIMITS, altered, differences
from networks import Network, CifarResNet, InceptionBN, loss_with_sides, make, optimizer, padded_unit, preact_resnet
from networks import projected_unit, run, state

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGENET = (3, 224, 224)


def without_dropout(module):
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return module


def torchvision(model, name, **row):
    """A network that torchvision has, with Kiln's model and table of names."""
    make_module = lambda: without_dropout(getattr(vision, name)(weights=None))
    return Network(f"dsl/models/{model}.kiln", make_module, IMAGENET, 1000, names=f"dsl/models/{model}.names",
                   batch=2, **row)


class GoogLeNet(torch.nn.Module):
    """torchvision's, with the order of results that our loss wants."""

    def __init__(self):
        super().__init__()
        self.inner = without_dropout(vision.googlenet(weights=None, init_weights=False))

    def forward(self, x):
        out = self.inner(x)
        return (out.logits, out.aux_logits1, out.aux_logits2) if self.training else out


MODULES = [
    [64, 64, 64, 64, 96, "avg_pool", 32], [64, 64, 96, 64, 96, "avg_pool", 64], [0, 128, 160, 64, 96, "max_pool", 0],
    [224, 64, 96, 96, 128, "avg_pool", 128], [192, 96, 128, 96, 128, "avg_pool", 128],
    [160, 128, 160, 128, 160, "avg_pool", 96], [96, 128, 192, 160, 192, "avg_pool", 96],
    [0, 128, 192, 192, 256, "max_pool", 0], [352, 192, 320, 160, 224, "avg_pool", 128],
    [352, 192, 320, 192, 224, "max_pool", 128],
]


def cifar(model, module, **row):
    return Network(f"dsl/models/{model}.kiln", module, (3, 32, 32), batch=8, **row)


BASIC = {"unit": "basic"}
FULL = {
    "lenet": Network("dsl/models/lenet.kiln", lambda: LeNet(dropout=0.0), (1, 28, 28), batch=16),
    "alexnet": torchvision("alexnet", "alexnet"),
    "vgg16": torchvision("vgg", "vgg16"),
    "googlenet": Network("dsl/models/googlenet.kiln", GoogLeNet, IMAGENET, 1000, names="dsl/models/googlenet.names",
                         batch=4, loss=loss_with_sides),
    "inception_bn": Network("dsl/models/inception_bn.kiln", lambda: InceptionBN(MODULES, [64, 64, 192], 1000),
                            IMAGENET, 1000, batch=2),
    "resnet18": torchvision("resnet", "resnet18", set=BASIC | {"depths": "[2, 2, 2, 2]"}),
    "resnet34": torchvision("resnet", "resnet34", set=BASIC),
    "resnet50": torchvision("resnet", "resnet50"),
    "resnet101": torchvision("resnet", "resnet101", set={"depths": "[3, 4, 23, 3]"}),
    "resnet152": torchvision("resnet", "resnet152", set={"depths": "[3, 8, 36, 3]"}),
    "mobilenet_v2": torchvision("mobilenet", "mobilenet_v2"),
    "cifar_resnet20": cifar("cifar_resnet", lambda: CifarResNet(padded_unit, [3] * 3, 16, 10)),
    "cifar_resnet56": cifar("cifar_resnet", lambda: CifarResNet(padded_unit, [9] * 3, 16, 10), set={"depth": "9"}),
    "cifar_resnet110": cifar("cifar_resnet", lambda: CifarResNet(padded_unit, [18] * 3, 16, 10), set={"depth": "18"}),
    "cifar_resnet18": cifar("cifar_resnet18", lambda: CifarResNet(projected_unit, [2] * 4, 64, 10)),
    "preact_resnet1001": cifar("preact_resnet", lambda: preact_resnet(111, 16), set={"depth": "111"}),
}


def kiln(binary, *arguments):
    """Runs Kiln; what it says about a failure becomes this script's."""
    command = [str(a) for a in (binary, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}")


def compiled(binary, network, weights, inputs, steps, lr):
    """What Kiln computes, under PyTorch's names; a record like that of `run`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        save_file(weights, folder / "weights.safetensors")
        for name, x in inputs.items():
            np.save(folder / f"{name}.npy", x)
        inputs = {name: ["--input", f"{name}={folder / name}.npy"] for name in inputs}
        common = ["--weights", folder / "weights.safetensors"]
        common += ["--names", network.names] if network.names else []
        for key, value in network.set.items():
            common += ["--set", f"{key}={value}"]
        outputs = {name: folder / f"output-{name}.npy" for name in network.outputs}
        kiln(binary, "run", network.model, *common, *(a for name in network.takes for a in inputs[name]),
             *(a for name, path in outputs.items() for a in ("--output", f"{name}={path}")))

        common += [a for pair in inputs.values() for a in pair]
        common += ["--no-dropout", "--set", f"optimizer={optimizer(lr)}"]
        grads, after, losses = folder / "grads.safetensors", folder / "after.safetensors", folder / "losses.npy"
        kiln(binary, "step", network.model, *common, "--output-grads", grads, "--output-weights", after)
        kiln(binary, "step", network.model, *common, "--steps", steps, "--output-loss", losses)
        gradients, after = load_file(grads), load_file(after)
        return {
            "outputs": {name: np.load(path, allow_pickle=False) for name, path in outputs.items()},
            "gradients": gradients,
            "states": {name: x for name, x in after.items() if name not in gradients},
            "losses": np.load(losses, allow_pickle=False),
        }


def plain(record):
    """The names of torchvision's GoogLeNet without those of the module around it."""
    strip = lambda tensors: {name.removeprefix("inner."): x for name, x in tensors.items()}
    return {kind: strip(value) if isinstance(value, dict) else value for kind, value in record.items()}


def compare(name, network, binary, steps, lr):
    """One line of the table."""
    started = time.monotonic()
    module, inputs = make(network, network.batch)
    weights = plain({"weights": state(module)})["weights"]
    want = plain(run(network, copy.deepcopy(module), inputs, steps, lr))
    moved = [plain(run(network, altered(module, seed), inputs, steps, lr)) for seed in (1, 2, 3)]
    got = compiled(binary, network, weights, inputs, steps, lr)
    for kind in "outputs", "gradients", "states":
        if got[kind].keys() != want[kind].keys():
            sys.exit(f"{name}: {kind}: {sorted(got[kind].keys() ^ want[kind].keys())[:10]} only on one side")
    found, noises = differences(got, want), [differences(other, want) for other in moved]
    noise = {kind: max(n[kind] for n in noises) for kind in LIMITS}
    over = [kind for kind, limit in LIMITS.items() if not found[kind] <= max(limit, noise[kind])]
    count = sum(g.size for g in want["gradients"].values())
    return {
        "network": name, "parameters": count, "found": found, "noise": noise, "over": over,
        "first_loss": float(want["losses"][0]), "last_loss": float(want["losses"][-1]),
        "seconds": round(time.monotonic() - started),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks")
    parser.add_argument("--kiln", required=True, type=pathlib.Path, metavar="PATH", help="the kiln binary")
    parser.add_argument("--steps", type=int, default=20, metavar="K")
    parser.add_argument("--lr", type=float, default=1e-4, metavar="RATE")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of PyTorch's")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the rows")
    args = parser.parse_args()
    unknown = set(args.names) - set(FULL)
    if unknown:
        parser.error(f"no network is called {', '.join(sorted(unknown))}; there are {', '.join(FULL)}")

    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.steps} steps at {args.lr}; relative differences, and PyTorch's own")
    heads = [f"{kind} {limit:.0e}" for kind, limit in LIMITS.items()]
    print(f"{'':18} {'weights':>11} " + " ".join(f"{head:>17}" for head in heads) + "   loss")
    rows = []
    for name in args.names or FULL:
        row = compare(name, FULL[name], args.kiln.resolve(), args.steps, args.lr)
        rows.append(row)
        verdict = f"   OVER: {', '.join(row['over'])}" if row["over"] else ""
        cells = [f"{row['found'][kind]:.1e} ({row['noise'][kind]:.0e})" for kind in LIMITS]
        print(f"{name:18} {row['parameters']:11,} " + " ".join(f"{cell:>17}" for cell in cells)
              + f"   {row['first_loss']:.3f} to {row['last_loss']:.3f}, {row['seconds']} s{verdict}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2, default=float) + "\n")
    sys.exit(1 if any(row["over"] for row in rows) else 0)


if __name__ == "__main__":
    main()
