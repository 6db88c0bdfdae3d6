"""Writes tests/fixtures/networks: what PyTorch computes for small forms of the networks in dsl/models.

    python tests/pytorch/make_network_fixtures.py [NAME ...]

`networks.py` lists the networks; tests/fixtures/README.md describes the files. One thread and fixed seeds: on one
machine and one version of PyTorch every run writes the same bytes; elsewhere the last bits may differ.
"""

import argparse
import copy
import json
import pathlib
import shutil
import sys

import numpy as np
import torch
from safetensors.numpy import save_file

from lenet import relative_max
from networks import NETWORKS, make, optimizer, run, state

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "networks"
STEPS = 20

# How far f32 may stray from f64 in PyTorch itself, as a share of what the tests allow Kiln. Beyond that a fixture
# tests on which side of a kink a ReLU or a maximum happens to fall.
SHARE = 0.5
LIMITS = {"outputs": 1e-4, "gradients": 1e-3, "states": 1e-5, "losses": 1e-3}


# A gradient smaller than this share of all gradients together is compared with that: that of an offset which a later
# normalisation takes away is 0, and consists of rounding errors.
FLOOR = 1e-4


def differences(got, want):
    """How far two records are apart, by kind of result."""
    norm = np.linalg.norm
    floor = {"gradients": FLOOR * norm([norm(g) for g in want["gradients"].values()])}

    def worst(kind):
        pairs = ((got[kind][name].astype(np.float64), x) for name, x in want[kind].items())
        return max((norm(g - x) / max(norm(x), floor.get(kind, 0.0)) for g, x in pairs), default=0.0)

    return {
        **{kind: worst(kind) for kind in ("outputs", "gradients", "states")},
        "losses": relative_max(got["losses"], want["losses"]),
    }


def altered(module, trial):
    """The module with every weight moved by 3e-7 of itself, about the rounding of another order of summation."""
    module, random = copy.deepcopy(module), torch.Generator().manual_seed(trial)
    with torch.no_grad():
        for w in module.parameters():
            w.mul_(1 + 3e-7 * torch.randn(w.shape, generator=random))
    return module


def compute(network):
    """A network's weights, its inputs, PyTorch's results in f64, and how far rounding alone moves them."""
    module, inputs = make(network, network.batch)
    weights = state(module)
    double = run(network, copy.deepcopy(module).double(), inputs, STEPS)
    noise = dict.fromkeys(LIMITS, 0.0)
    for trial in range(5):
        single = run(network, altered(module, trial) if trial else copy.deepcopy(module), inputs, STEPS)
        noise = {kind: max(noise[kind], x) for kind, x in differences(single, double).items()}
    return weights, inputs, double, noise


def write(folder, network, weights, inputs, double):
    """One folder of fixtures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    manifest = {
        "model": network.model,
        "names": network.names,
        "set": network.set | ({} if network.inputs else {name: str(d) for name, d in zip("CHW", network.image)}),
        "batch": network.batch,
        "optimizer": optimizer(network.lr),
        "takes": list(network.takes),
        "outputs": list(network.outputs),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    save_file(weights, folder / "weights.safetensors")
    save_file(inputs, folder / "inputs.safetensors")
    save_file(double["outputs"] | {"losses": double["losses"]}, folder / "results.safetensors")
    save_file(double["gradients"], folder / "gradients.safetensors")
    if double["states"]:
        save_file(double["states"], folder / "states.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these networks")
    args = parser.parse_args()
    unknown = set(args.names) - set(NETWORKS)
    if unknown:
        parser.error(f"no network is called {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}; the largest relative difference of PyTorch's f32 to its f64")
    print(f"{'':16} {'weights':>8} " + " ".join(f"{kind:>9}" for kind in LIMITS))
    unfit = []
    for name in args.names or NETWORKS:
        network = NETWORKS[name]
        weights, inputs, double, noise = compute(network)
        count = sum(w.size for w in weights.values())
        print(f"{name:16} {count:8,} " + " ".join(f"{noise[kind]:9.1e}" for kind in LIMITS))
        if all(noise[kind] <= SHARE * limit for kind, limit in LIMITS.items()):
            write(FOLDER / name, network, weights, inputs, double)
        else:
            unfit.append(name)
    if unfit:
        sys.exit(f"rounding moves {', '.join(unfit)} too far for a fixture: choose another seed or a lower rate")


if __name__ == "__main__":
    main()
