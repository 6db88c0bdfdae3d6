"""Times inference of the networks in `dsl/models/` beside other programs, in turns, on the same random weights.

    pip install -r benches/peers/requirements.txt
    cargo build --release
    python benches/peers/peers.py --networks resnet18,resnet50 --threads 2 --batch 1

Every program lives in a process of its own, and only one works at a time: in each round each runs for --seconds, after
runs that do not count. The least time of all rounds counts. First the outputs are compared with PyTorch's in f64. Prints
a table in Markdown; with --results FILE the numbers are added to that file, and the table shows all of them. A program
that is missing or fails has the reason below the table. With --picture FILE the table is drawn as well; --rounds 0
measures nothing and shows what --results has.

With --memory not times but bytes are compared: what the process holds resident after ten runs, less what the network's
weights take in f32. From the processes of the others the interpreter with NumPy, the network's input and its expected
output is taken off, but not the program itself, how much of which comes with its import is the table's last row. From
Kiln's process nothing is taken off: its code and everything that it has compiled is counted.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np

warnings.simplefilter("ignore")  # what the exporters deprecate

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The most that an output may differ, relative to the largest.
TOLERANCE = 1e-4


def networks():
    """The rows of the table: those of the comparison with PyTorch, GoogLeNet without its side classifiers."""
    sys.path.insert(0, str(ROOT / "tests" / "pytorch"))
    from compare_networks import FULL
    from torchvision import models

    names = ("lenet", "alexnet", "vgg16", "googlenet", "inception_bn", "resnet18", "resnet50", "mobilenet_v2")
    rows = {name: FULL[name] for name in names}
    rows["googlenet"].module = lambda: models.googlenet(aux_logits=False, init_weights=False)
    rows["googlenet"].set = {"sides": "false"}
    return rows


def randomise(module):
    """Statistics that hide nothing: neither 0 nor 1."""
    import torch

    ranges = {"weight": (0.5, 1.0), "bias": (-0.2, 0.2), "running_mean": (-0.2, 0.2), "running_var": (0.5, 1.5)}
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for name, (low, high) in ranges.items():
                getattr(part, name).data.uniform_(low, high, generator=generator)


class Case:
    """A network's weights, its input and what it should give, as files in a folder."""

    def __init__(self, network, batch, threads, kiln, folder):
        import torch
        from safetensors.torch import save_file

        self.threads, self.kiln, self.folder = threads, kiln, pathlib.Path(folder)
        self.model, self.output = str(ROOT / network.model), network.outputs[0]
        self.set = {"N": batch, **network.set}
        self.names = network.names and str(ROOT / network.names)
        torch.manual_seed(0)
        module = network.module()
        randomise(module.eval())
        self.image = np.random.default_rng(0).standard_normal((batch, *network.image), dtype=np.float32)
        np.save(self.folder / "image.npy", self.image)
        weights = {name: x for name, x in module.state_dict().items() if "num_batches_tracked" not in name}
        save_file(weights, self.folder / "weights.safetensors")
        self.weight_bytes = sum(x.numel() * x.element_size() for x in weights.values())
        image = torch.from_numpy(self.image)
        torch.jit.save(torch.jit.trace(module, image[:1]), str(self.folder / "network.pt"))
        torch.onnx.export(
            module, (image,), str(self.folder / "network.onnx"), dynamo=False, input_names=["image"], output_names=["output"],
        )
        with torch.inference_mode():
            self.expected = module.double()(image.double()).numpy()


class Torch:
    """Channels-last, traced and frozen: the fastest form that needs no compiler."""

    module_name = "torch"

    def __init__(self, case):
        import torch

        torch.set_num_threads(case.threads)
        self.inference = torch.inference_mode
        module = torch.jit.load(str(case.folder / "network.pt")).to(memory_format=torch.channels_last)
        self.module = torch.jit.optimize_for_inference(torch.jit.freeze(module.eval()))
        self.image = torch.from_numpy(case.image).to(memory_format=torch.channels_last)

    def run(self):
        with self.inference():
            return self.module(self.image).numpy()


class OnnxRuntime:
    module_name = "onnxruntime"

    def __init__(self, case):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        model = str(case.folder / "network.onnx")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {"image": case.image}

    def run(self):
        return self.session.run(None, self.inputs)[0]


class OpenVino:
    module_name = "openvino"

    def __init__(self, case):
        import openvino

        settings = {"INFERENCE_NUM_THREADS": case.threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(str(case.folder / "network.onnx"), "CPU", settings)
        self.request = compiled.create_infer_request()
        self.image = case.image

    def run(self):
        return self.request.infer([self.image], share_inputs=True)[0]


class Mnn:
    module_name = "MNN"

    def __init__(self, case):
        import MNN

        # The converter itself: MNN's command installs packages and reports its use over the network. In a process of
        # its own, which takes its memory with it.
        model, onnx = str(case.folder / "network.mnn"), str(case.folder / "network.onnx")
        words = ["mnnconvert", "-f", "ONNX", "--modelFile", onnx, "--MNNModel", model, "--bizCode", "kiln"]
        program = f"from _tools import mnnconvert; mnnconvert({words!r})"
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
        settings = {"backend": "CPU", "precision": "high", "numThread": case.threads}
        self.runtime = MNN.nn.create_runtime_manager((settings,))
        self.module = MNN.nn.load_module_from_file(model, ["image"], ["output"], runtime_manager=self.runtime)
        form = MNN.expr.data_format
        image = MNN.expr.const(case.image, case.image.shape, form.NCHW, MNN.expr.dtype.float)
        self.image = MNN.expr.convert(image, form.NC4HW4)

    def run(self):
        output = self.module.forward([self.image])[0]
        return np.array(output.read()).reshape(output.shape)


class Ncnn:
    """It takes one image at a time: a batch is so many runs."""

    module_name = "ncnn"

    def __init__(self, case):
        import ncnn

        shape = ",".join(str(n) for n in (1, *case.image.shape[1:]))
        program = pathlib.Path(sys.executable).with_name("pnnx")
        convert = [program, case.folder / "network.pt", f"inputshape=[{shape}]", "fp16=0"]
        subprocess.run(convert, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=case.folder)
        self.net = ncnn.Net()
        self.net.opt.num_threads = case.threads
        self.net.opt.use_fp16_storage = self.net.opt.use_fp16_packed = self.net.opt.use_fp16_arithmetic = False
        self.net.opt.use_bf16_storage = False
        self.net.load_param(str(case.folder / "network.ncnn.param"))
        self.net.load_model(str(case.folder / "network.ncnn.bin"))
        self.images = [ncnn.Mat(image) for image in case.image]

    def one(self, image):
        with self.net.create_extractor() as extractor:
            extractor.input("in0", image)
            return np.array(extractor.extract("out0")[1])

    def run(self):
        return np.stack([self.one(image) for image in self.images])


class Kiln:
    """The command: its `run` gives the outputs, its `bench` the time."""

    def __init__(self, case):
        self.case, folder = case, case.folder
        self.program = [case.model, "--threads", str(case.threads), "--weights", str(folder / "weights.safetensors")]
        self.program += ["--names", case.names] if case.names else []
        for key, value in case.set.items():
            self.program += ["--set", f"{key}={value}"]
        self.repeat = 2

    def run(self):
        out = self.case.folder / "out.npy"
        files = ["--input", f"image={self.case.folder / 'image.npy'}", "--output", f"{self.case.output}={out}"]
        subprocess.run([self.case.kiln, "run", *self.program, *files], check=True, stdout=subprocess.DEVNULL)
        return np.load(out)

    def bench(self, repeat):
        command = [self.case.kiln, "bench", *self.program, "--repeat", str(repeat), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def least(self, seconds):
        answer = self.bench(self.repeat)
        self.repeat = max(2, int(seconds * 1e3 / answer["median_ms"]))
        return answer["min_ms"]


def least(peer, seconds):
    """The least milliseconds of the runs in so many seconds."""
    for _ in range(3):
        peer.run()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        peer.run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


PEERS = {"torch": Torch, "ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino, "MNN": Mnn, "ncnn": Ncnn, "Kiln": Kiln}


def serve(program, case, pipe):
    """A program's process: answers with the output, then with times for every number of seconds that comes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        peer = program(case)
        pipe.send(("output", peer.run()))
        while (seconds := pipe.recv()) is not None:
            pipe.send(("ms", peer.least(seconds) if hasattr(peer, "least") else least(peer, seconds)))
    except Exception as error:  # noqa: BLE001 - whatever a program cannot do, the others can be compared
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def resident():
    """Bytes of this process in memory."""
    status = pathlib.Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def hold(name, case, pipe):
    """A program's process: answers with the bytes that it holds after runs, and with those of its import alone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        if name == "Kiln":
            return pipe.send(("bytes", (Kiln(case).bench(10)["rss_bytes"], None)))
        before = resident()
        importlib.import_module(PEERS[name].module_name)
        program = resident() - before
        peer = PEERS[name](case)
        for _ in range(10):
            peer.run()
        gc.collect()
        pipe.send(("bytes", (resident() - before, program)))
    except Exception as error:  # noqa: BLE001 - as above
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def ask(pipe):
    """The next answer of a process, also of one that died."""
    try:
        return pipe.recv()
    except EOFError:
        return "failed", "its process ended"


def interleave(case, programs, rounds, seconds):
    """{program: {"ms": least, "error": largest difference} or {"failed": reason}} of one case."""
    results, pipes, processes = {}, {}, {}
    spawn = multiprocessing.get_context("spawn")
    for name, program in programs.items():
        pipes[name], end = spawn.Pipe()
        processes[name] = spawn.Process(target=serve, args=(program, case, end))
        processes[name].start()
        end.close()
        kind, answer = ask(pipes[name])
        if kind == "failed":
            results[name] = {"failed": answer}
            continue
        error = float(np.abs(answer - case.expected).max() / np.abs(case.expected).max())
        agrees = answer.shape == case.expected.shape and error <= TOLERANCE
        results[name] = {"ms": None, "error": error} if agrees else {"failed": f"its output differs by {error:.1e}"}
    for _ in range(rounds):
        for name, result in results.items():
            if "failed" in result:
                continue
            time.sleep(0.1)  # whose threads still wait for work goes to sleep
            try:
                pipes[name].send(seconds)
                kind, answer = ask(pipes[name])
            except BrokenPipeError:
                kind, answer = "failed", "its process ended"
            if kind == "failed":
                results[name] = {"failed": answer}
            else:
                result["ms"] = min(answer, result["ms"] or answer)
    for name, process in processes.items():
        if process.is_alive() and "failed" not in results[name]:
            pipes[name].send(None)
        pipes[name].close()
        process.join()
    return results


def measure(network, arguments):
    """What the programs take for one network, as `interleave` gives it."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(network, arguments.batch, arguments.threads, arguments.kiln, folder)
        programs = {name: PEERS[name] for name in arguments.peers}
        return interleave(case, programs, arguments.rounds, arguments.seconds)


def weigh(network, arguments):
    """{program: {"bytes": beyond the weights, "program": of its import} or {"failed": reason}} of one network."""
    results, spawn = {}, multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        case = Case(network, arguments.batch, arguments.threads, arguments.kiln, folder)
        for name in arguments.peers:
            pipe, end = spawn.Pipe()
            process = spawn.Process(target=hold, args=(name, case, end))
            process.start()
            end.close()
            kind, answer = ask(pipe)
            process.join()
            if kind == "failed":
                results[name] = {"failed": answer}
            else:
                results[name] = {"bytes": answer[0] - case.weight_bytes, "program": answer[1]}
    return {"weights": case.weight_bytes, "programs": results}


def memory_table(results):
    """Markdown: MiB beyond the weights, and Kiln's share of ONNX Runtime's; then what failed."""
    heads = ["network", "batch", "threads", "weights", *PEERS, "Kiln / ONNX Runtime"]
    lines, failures, programs = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)], [], {}
    mebibytes = lambda n: "-" if n is None else f"{n / 2**20:.1f}"  # noqa: E731
    for key, row in results.items():
        held = {name: result["bytes"] for name, result in row["programs"].items() if "bytes" in result}
        programs |= {name: result["program"] for name, result in row["programs"].items() if result.get("program")}
        failures += [f"{key}: {name}: {result['failed']}" for name, result in row["programs"].items() if "failed" in result]
        cells = [mebibytes(row["weights"]), *(mebibytes(held.get(name)) for name in PEERS)]
        both = "Kiln" in held and "ONNX Runtime" in held
        ratio = f"{held['Kiln'] / held['ONNX Runtime']:.2f}" if both else "-"
        lines.append(f"| {' | '.join([*key.split('/'), *cells, ratio])} |")
    cells = [mebibytes(programs.get(name)) for name in PEERS]
    lines.append(f"| {' | '.join(['of which import', '', '', '', *cells, ''])} |")
    return "\n".join(lines + [""] * bool(failures) + failures)


def table(results):
    """Markdown: milliseconds, and Kiln's share of the fastest other's time; then what failed."""
    lines = [f"| network | batch | threads | {' | '.join(PEERS)} | Kiln / fastest |", "|---|" + "---:|" * (len(PEERS) + 3)]
    failures = []
    for key, row in results.items():
        times = {name: result["ms"] for name, result in row.items() if "ms" in result}
        failures += [f"{key}: {name}: {result['failed']}" for name, result in row.items() if "failed" in result]
        others = [ms for name, ms in times.items() if name != "Kiln"]
        fastest = min(others, default=None)
        cells = [f"{times[name]:.3g}" if name in times else "-" for name in PEERS]
        cells = [f"**{cell}**" if times.get(name) == fastest and others else cell for name, cell in zip(PEERS, cells)]
        ratio = f"{times['Kiln'] / fastest:.2f}" if others and "Kiln" in times else "-"
        lines.append(f"| {' | '.join(key.split('/'))} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines + [""] * bool(failures) + failures)


# Of the programs, in their order.
COLOURS = ("#ee6677", "#4477aa", "#66ccee", "#ccbb44", "#aa3377", "#228833")


def picture(results):
    """The table as SVG: bars as long as a program's time in proportion to the fastest other's, three of those at most."""
    unit, bar, left, most = 170, 9, 150, 3.0
    parts, y = [], 34
    for name, colour, x in zip(PEERS, COLOURS, range(left, 10_000, 95)):
        parts.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="17">{name}</text>')
    for key, row in results.items():
        times = {name: result["ms"] for name, result in row.items() if "ms" in result}
        fastest = min((ms for name, ms in times.items() if name != "Kiln"), default=None)
        if fastest is None:
            continue
        network, batch, threads = key.split("/")
        parts.append(f'<text x="4" y="{y + 11}">{network}</text>')
        parts.append(f'<text x="4" y="{y + 24}" fill="#777">batch {batch}, {threads} thread{"s" * (threads != "1")}</text>')
        for name, colour in zip(PEERS, COLOURS):
            if name in times:
                length = min(times[name] / fastest, most) * unit
                parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 1}" fill="{colour}"/>')
                parts.append(f'<text x="{left + length + 4:.1f}" y="{y + 8}" font-size="9">{times[name]:.3g} ms</text>')
                y += bar
        y += 12
    width, line = int(left + most * unit + 70), left + unit
    parts.append(f'<line x1="{line}" x2="{line}" y1="26" y2="{y}" stroke="#777" stroke-dasharray="3 3"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, f'<rect width="{width}" height="{y}" fill="#fff"/>', *parts, "</svg>", ""])


def confine(threads):
    """So many cores for so many threads, for all programs alike; their processes inherit it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--networks", type=words, help="all by default")
    parser.add_argument("--peers", type=words, default=list(PEERS), help=",".join(PEERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a program runs in a round")
    parser.add_argument("--kiln", default=str(ROOT / "target" / "release" / "kiln"))
    parser.add_argument("--memory", action="store_true", help="compare what processes hold, not times")
    parser.add_argument("--results", type=pathlib.Path, help="a JSON file that keeps the numbers")
    parser.add_argument("--picture", type=pathlib.Path, help="an SVG file to draw the times in")
    arguments = parser.parse_args()
    confine(arguments.threads)
    rows, results = networks(), {}
    if arguments.results and arguments.results.exists():
        results = json.loads(arguments.results.read_text())
    compare, show = (weigh, memory_table) if arguments.memory else (measure, table)
    for name in (arguments.networks or list(rows)) if arguments.rounds else []:
        results[f"{name}/{arguments.batch}/{arguments.threads}"] = compare(rows[name], arguments)
        if arguments.results:
            arguments.results.write_text(json.dumps(results, indent=1))
    print(show(results))
    if arguments.picture:
        arguments.picture.write_text(picture(results))


if __name__ == "__main__":
    main()
