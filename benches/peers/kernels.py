"""Times single operators and short chains (`benches/kernels.kiln`) beside PyTorch and JAX, in turns, on the same numbers.

    pip install -r benches/peers/requirements.txt jax
    cargo build --release
    python benches/peers/kernels.py --threads 2

As in `peers.py`, which see, every program has a process of its own, they take turns, outputs are compared with PyTorch's
in f64, and the least time of all rounds counts. `copy` is PyTorch copying the first input to memory that is mapped.
torch.compile needs a C++ compiler; where a program is missing, the reason stands below the table. Each line of the table
ends with the time that is asked of Kiln, as a multiple of another program's, and the multiple that was measured.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np

from peers import ROOT, confine, interleave

MODELS = str(ROOT / "benches" / "kernels.kiln")
VECTOR = 1 << 24


class Row:
    """A model of `kernels.kiln` and what PyTorch writes instead. `bar` is the multiple asked for, and of which program's time."""

    def __init__(self, model, inputs, function, bar, weights=None, set=None):
        self.model, self.inputs, self.function, self.bar = model, inputs, function, bar
        self.weights, self.set = weights or {}, set or {}


def chain(m, x):
    return m.tanh(1.5 * x + 0.5) * m.sigmoid(0.7 * x) + m.relu(x) - x / 2


def plain_chain(m, x):
    return (1.5 * x + 0.5) * m.relu(x) - x / 2


def rows():
    """The lines of the table. Functions take a module with PyTorch's names, the inputs and the weights."""
    table = {
        "chain, 16M": Row("chain", {"x": [VECTOR]}, chain, (0.25, "fastest")),
        "plain chain, 16M": Row("plain_chain", {"x": [VECTOR]}, plain_chain, (1.2, "copy")),
        "softmax 4096x1000": Row("softmax_rows", {"x": [4096, 1000]}, lambda m, x: m.softmax(x), (0.8, "torch")),
        "layer norm 4096x1024": Row(
            "norm_rows", {"x": [4096, 1024]}, lambda m, x, w, b: m.layer_norm(x, w, b), (0.9, "torch"),
            {"layer_norm1.weight": [1024], "layer_norm1.bias": [1024]},
        ),
        "sum 4096x4096": Row("total", {"x": [4096, 4096]}, lambda m, x: x.sum(), (1.2, "copy")),
        "sums of rows": Row("row_sums", {"x": [4096, 4096]}, lambda m, x: x.sum(1), (1.2, "copy")),
        "sums of columns": Row("column_sums", {"x": [4096, 4096]}, lambda m, x: x.sum(0), (1.2, "copy")),
        "maxima of rows": Row("row_maxima", {"x": [4096, 4096]}, lambda m, x: m.amax(x), (1.2, "copy")),
    }
    for rows_of_x, bar in ((1, 1.0), (16, 1 / 3)):
        table[f"{rows_of_x}x9216 by 9216x4096, a weight"] = Row(
            "dense", {"x": [rows_of_x, 9216]}, lambda m, x, w: m.linear(x, w), (bar, "torch"),
            {"linear1.weight": [4096, 9216]}, {"out": 4096},
        )
    for n in (256, 512, 1024, 2048):
        table[f"sgemm {n}"] = Row("product", {"a": [n, n], "b": [n, n]}, lambda m, a, b: a @ b, (1 / 0.95, "torch"))
    for stride, side, channels in ((1, 28, 256), (2, 112, 64)):
        table[f"max pooling 3x3 by {stride}, {side}x{side}x{channels}"] = Row(
            "max_pooling", {"x": [1, side, side, channels]},
            lambda m, x, stride=stride: m.max_pool(x, stride), (1.0, "torch"), set={"stride": stride},
        )
    return table


class TorchNames:
    """What the rows call, in PyTorch's words; images come channels-last."""

    def __init__(self):
        import torch
        from torch.nn import functional

        self.tanh, self.sigmoid, self.relu, self.linear = torch.tanh, torch.sigmoid, torch.relu, functional.linear
        self.softmax = lambda x: torch.softmax(x, -1)
        self.amax = lambda x: torch.amax(x, -1)
        self.layer_norm = lambda x, w, b: functional.layer_norm(x, w.shape, w, b)
        self.max_pool = lambda x, s: functional.max_pool2d(x.permute(0, 3, 1, 2), 3, s, 1).permute(0, 2, 3, 1)


class JaxNames:
    """The same in JAX's words."""

    def __init__(self):
        import jax
        from jax import lax
        from jax import numpy as jnp

        self.tanh, self.sigmoid, self.relu, self.softmax = jnp.tanh, jax.nn.sigmoid, jax.nn.relu, jax.nn.softmax
        self.linear = lambda x, w: x @ w.T
        self.amax = lambda x: x.max(-1)
        self.layer_norm = lambda x, w, b: jax.nn.standardize(x, epsilon=1e-5) * w + b
        self.max_pool = lambda x, s: lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, s, s, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))


class Case:
    """A row's numbers, and what it should give, as files in a folder."""

    def __init__(self, name, threads, kiln, folder):
        import torch
        from safetensors.numpy import save_file

        self.name, self.threads, self.kiln, self.folder = name, threads, kiln, pathlib.Path(folder)
        random, row = np.random.default_rng(0), rows()[name]
        self.inputs = {key: random.standard_normal(shape, dtype=np.float32) for key, shape in row.inputs.items()}
        self.weights = {key: random.standard_normal(shape, dtype=np.float32) for key, shape in row.weights.items()}
        save_file(self.weights, self.folder / "weights.safetensors")
        for key, x in self.inputs.items():
            np.save(self.folder / f"{key}.npy", x)
        self.arrays = [*self.inputs.values(), *self.weights.values()]
        with torch.inference_mode():
            self.expected = row.function(TorchNames(), *(torch.from_numpy(x).double() for x in self.arrays)).numpy()


class Torch:
    def __init__(self, case):
        import torch

        torch.set_num_threads(case.threads)
        self.torch, self.names, self.function = torch, TorchNames(), rows()[case.name].function
        self.arrays = [torch.from_numpy(x) for x in case.arrays]

    def run(self):
        with self.torch.inference_mode():
            return self.function(self.names, *self.arrays).numpy()


class TorchCompiled(Torch):
    def __init__(self, case):
        super().__init__(case)
        names, function = self.names, self.function
        self.function = lambda _, *arrays: compiled(*arrays)
        compiled = self.torch.compile(lambda *arrays: function(names, *arrays))


class Jax:
    def __init__(self, case):
        import jax

        names, function = JaxNames(), rows()[case.name].function
        self.compiled = jax.jit(lambda *arrays: function(names, *arrays))
        self.arrays = [jax.device_put(x) for x in case.arrays]

    def run(self):
        return np.asarray(self.compiled(*self.arrays).block_until_ready())


class Copy:
    """Copies the first input; what the row computes it does not compute, so that is not compared."""

    def __init__(self, case):
        import torch

        torch.set_num_threads(case.threads)
        self.expected = case.expected
        self.source = torch.from_numpy(case.arrays[0])
        self.target = torch.zeros_like(self.source)

    def run(self):
        self.target.copy_(self.source)
        return self.expected


class Kiln:
    """The command: its `run` gives the output, its `bench` the time."""

    def __init__(self, case):
        self.case, row = case, rows()[case.name]
        self.program = [MODELS, "--model", row.model, "--threads", str(case.threads)]
        self.program += ["--weights", str(case.folder / "weights.safetensors")] if row.weights else []
        free = {"x": "NC" if len(row.inputs["x"]) == 2 else "N"} if "x" in row.inputs else {"a": "MK", "b": "KO"}
        if row.model == "max_pooling":
            free = {"x": "NHWC"}
        sizes = {axis: n for key, axes in free.items() for axis, n in zip(axes, row.inputs[key])}
        for key, value in {**sizes, **row.set}.items():
            self.program += ["--set", f"{key}={value}"]
        self.repeat = 2

    def run(self):
        out = self.case.folder / "out.npy"
        files = [x for key in self.case.inputs for x in ("--input", f"{key}={self.case.folder / key}.npy")]
        command = [self.case.kiln, "run", *self.program, *files, "--output", f"output0={out}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return np.load(out)

    def least(self, seconds):
        command = [self.case.kiln, "bench", *self.program, "--repeat", str(self.repeat), "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        self.repeat = max(2, int(seconds * 1e3 / answer["median_ms"]))
        return answer["min_ms"]


PROGRAMS = {"torch": Torch, "torch.compile": TorchCompiled, "jax": Jax, "copy": Copy, "Kiln": Kiln}


def table(results):
    """Markdown: milliseconds, the bar and the multiple that was measured; then what failed."""
    lines = [f"| kernel | threads | {' | '.join(PROGRAMS)} | asked | Kiln |", "|---|" + "---:|" * (len(PROGRAMS) + 3)]
    failures = []
    for key, row in results.items():
        name, threads = key.rsplit("/", 1)
        bar, other = rows()[name].bar
        times = {program: result["ms"] for program, result in row.items() if "ms" in result}
        failures += [f"{key}: {program}: {result['failed']}" for program, result in row.items() if "failed" in result]
        cells = [f"{times[program]:.3g}" if program in times else "-" for program in PROGRAMS]
        peers = [ms for program, ms in times.items() if program not in ("Kiln", "copy")]
        of = min(peers, default=None) if other == "fastest" else times.get(other)
        ratio = f"{times['Kiln'] / of:.2f}" if of and "Kiln" in times else "-"
        lines.append(f"| {name} | {threads} | {' | '.join(cells)} | {bar:.2f} {other} | {ratio} |")
    return "\n".join(lines + [""] * bool(failures) + failures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(";")  # noqa: E731
    parser.add_argument("--kernels", type=str, default="", help="those whose names contain this")
    parser.add_argument("--programs", type=words, default=list(PROGRAMS), help=";".join(PROGRAMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a program runs in a round")
    parser.add_argument("--kiln", default=str(ROOT / "target" / "release" / "kiln"))
    arguments = parser.parse_args()
    confine(arguments.threads)
    results = {}
    for name in (name for name in rows() if arguments.kernels in name):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(name, arguments.threads, arguments.kiln, folder)
            programs = {program: PROGRAMS[program] for program in arguments.programs}
            results[f"{name}/{arguments.threads}"] = interleave(case, programs, arguments.rounds, arguments.seconds)
    print(table(results))


if __name__ == "__main__":
    main()
