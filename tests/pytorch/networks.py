"""Networks of `dsl/models/` in PyTorch: small ones for the fixtures, and what both they and full sizes are made of.

Where torchvision has a network its own blocks are used, so that names, layouts and all conventions are its own; only
the widths are ours. Other networks have Kiln's names for their weights, so they need no table of names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import ops
from torchvision.models import mobilenetv2, resnet
from torchvision.models.googlenet import BasicConv2d

import gpt


@dataclass
class Network:
    """A model of ours and the same in PyTorch.

    `module` makes the PyTorch module, without dropout; `set` is what Kiln binds (`--set`), `names` the table of names
    beside the model. `image` is the shape of one input. `outputs` are the results of inference in the module's order.
    `loss` takes the module's output in training and the inputs. A row that is no image classifier gives `inputs`.
    """

    model: str
    module: Callable[[], nn.Module]
    image: tuple[int, ...] = (3, 32, 32)
    classes: int = 10
    set: dict[str, str] = field(default_factory=dict)
    names: str | None = None
    outputs: tuple[str, ...] = ("logits",)
    loss: Callable = lambda output, inputs: F.cross_entropy(output, inputs["label"])
    inputs: Callable[[Network, int, np.random.Generator], dict[str, np.ndarray]] | None = None
    # What the model takes; the loss may read further inputs.
    takes: tuple[str, ...] = ("image",)
    batch: int = 4
    lr: float = 0.01
    seed: int = 0
    # Convolutions are this many times as large as PyTorch makes them. Before a normalisation that changes no result, but
    # takes the gradients down and makes training smooth.
    gain: float = 1.0


MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def images(network, batch, random):
    """Noise whose second half repeats the first under other labels, so that no loss can fall to rounding errors."""
    half = (batch + 1) // 2
    image = random.standard_normal((half, *network.image)).astype(np.float32)
    label = random.integers(0, network.classes, half)
    return {
        "image": np.concatenate([image, image])[:batch],
        "label": np.concatenate([label, (label + 1) % network.classes])[:batch],
    }


def windows(network, batch, random):
    """Windows of random letters and what follows; as above, each occurs twice and goes on in two ways."""
    half = (batch + 1) // 2
    text = random.integers(ord("a"), ord("z") + 1, (half, int(network.set["T"]) + 1))
    token, label = text[:, :-1], text[:, 1:]
    return {
        "token": np.concatenate([token, token])[:batch],
        "label": np.concatenate([label, (label + 1) % gpt.BYTES])[:batch],
    }


def make(network, batch):
    """A module with weights that hide nothing, and a batch of inputs: functions of the network's seed."""
    torch.manual_seed(network.seed)
    random = np.random.default_rng(network.seed)
    module = network.module()
    generator = torch.Generator().manual_seed(network.seed)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            with torch.no_grad():
                part.weight.mul_(network.gain)
        # Scales of 1, offsets and means of 0 and variances of 1 could be confused or forgotten.
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            # Kiln's constants are f32, in f64 as well.
            part.eps = float(np.float32(part.eps))
            for tensor, low, high in (
                (part.weight, 0.5, 1.5), (part.bias, -0.2, 0.2),
                (part.running_mean, -0.2, 0.2), (part.running_var, 0.5, 1.5),
            ):
                with torch.no_grad():
                    tensor.copy_(torch.empty_like(tensor).uniform_(low, high, generator=generator))
        if isinstance(part, nn.LayerNorm):
            for tensor, low, high in ((part.weight, 0.5, 1.5), (part.bias, -0.2, 0.2)):
                with torch.no_grad():
                    tensor.copy_(torch.empty_like(tensor).uniform_(low, high, generator=generator))
    return module, (network.inputs or images)(network, batch, random)


def tensors(inputs, dtype):
    """Inputs for a module of this precision."""
    return {name: torch.from_numpy(x).to(dtype) if x.dtype == np.float32 else torch.from_numpy(x)
            for name, x in inputs.items()}


def state(module):
    """Weights and running statistics, copied to NumPy, by name."""
    skipped = "num_batches_tracked"
    return {name: x.detach().numpy().copy() for name, x in module.state_dict().items() if skipped not in name}


def run(network, module, inputs, steps, lr=None):
    """What PyTorch computes in the module's precision: inference; then the gradients, the running statistics after
    the first step, and the loss of each of `steps` steps of SGD before its update."""
    given = tensors(inputs, next(module.parameters()).dtype)
    taken = [given[name] for name in network.takes]
    module.eval()
    with torch.no_grad():
        outputs = module(*taken)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    record = {"outputs": {name: x.numpy() for name, x in zip(network.outputs, outputs, strict=True)}}

    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=lr or network.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = network.loss(module(*taken), given)
        loss.backward()
        if step == 0:
            record["gradients"] = {n: w.grad.numpy().copy() for n, w in module.named_parameters()}
            record["states"] = {n: x.numpy().copy() for n, x in module.named_buffers() if x.is_floating_point()}
        optimizer.step()
        losses.append(loss.detach())
    record["losses"] = torch.stack(losses).numpy()
    return record


def optimizer(lr):
    """The same optimizer in Kiln's language."""
    return f"sgd(lr={lr}, momentum={MOMENTUM}, weight_decay={WEIGHT_DECAY})"


class ResNet(nn.Module):
    """torchvision's ResNet with any width."""

    def __init__(self, unit, depths, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(depths):
            units = []
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 else 1
                out = width * 2**stage * unit.expansion
                downsample = None
                if stride != 1 or channels != out:
                    downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
                units.append(unit(channels, width * 2**stage, stride, downsample))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*units))
        self.stages = len(depths)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


class PadShortcut(nn.Module):
    """He et al. 2015, option A: every other pixel, zeros as further channels."""

    def __init__(self, stride, more):
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x):
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.more))


class CifarResNet(nn.Module):
    """ResNets for 32x32 images, by lists of units with Kiln's names."""

    def __init__(self, unit, depths, width, classes, stem_norm=True, last_norm=False):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width) if stem_norm else None
        self.res, channels = nn.ModuleList(), width
        for stage, depth in enumerate(depths):
            units = nn.ModuleList()
            for i in range(depth):
                stride = 2 if i == 0 and stage > 0 else 1
                units.append(unit(channels, width * 2**stage, stride))
                channels = width * 2**stage * getattr(unit, "expansion", 1)
            self.res.append(units)
        self.bn = nn.BatchNorm2d(channels) if last_norm else None
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(self.bn1(x)) if self.bn1 else x
        for units in self.res:
            for unit in units:
                x = unit(x)
        x = F.relu(self.bn(x)) if self.bn else x
        return self.fc(x.mean((2, 3)))


def padded_unit(channels, width, stride):
    """A basic unit whose shortcut has no weights."""
    return resnet.BasicBlock(channels, width, stride, PadShortcut(stride, width - channels))


class Projection(nn.Module):
    """A projecting shortcut with Kiln's names."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)

    def forward(self, x):
        return self.bn(self.conv(x))


def projected_unit(channels, width, stride):
    """A basic unit with a projecting shortcut where it needs one."""
    shortcut = Projection(channels, width, stride) if stride != 1 or channels != width else None
    return resnet.BasicBlock(channels, width, stride, shortcut)


class PreactUnit(nn.Module):
    """He et al. 2016: normalisation and ReLU before each convolution."""

    expansion = 4

    def __init__(self, channels, width, stride):
        super().__init__()
        out = 4 * width
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, width, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), nn.Conv2d(width, out, 1, bias=False)
        projects = stride != 1 or channels != out
        self.downsample = nn.Conv2d(channels, out, 1, stride, bias=False) if projects else None

    def forward(self, x):
        a = F.relu(self.bn1(x))
        y = self.conv1(a)
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (self.downsample(a) if self.downsample else x)


def preact_resnet(depth, width, classes=10):
    return CifarResNet(PreactUnit, [depth] * 3, width, classes, stem_norm=False, last_norm=True)


class Classifier(nn.Sequential):
    """torchvision's AlexNet and VGG: `features`, then `classifier` on the flattened image."""

    def __init__(self, features, classifier):
        super().__init__()
        self.features, self.classifier = nn.Sequential(*features), nn.Sequential(*classifier)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def vgg(stages, hidden, classes, size):
    features, channels = [], 3
    for widths in stages:
        for width in widths:
            features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        features.append(nn.MaxPool2d(2))
    flat = channels * (size // 2 ** len(stages)) ** 2
    return Classifier(features, [
        nn.Linear(flat, hidden), nn.ReLU(), nn.Dropout(0), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(0),
        nn.Linear(hidden, classes),
    ])


def alexnet(widths, hidden, classes, flat, lrn=False):
    # Inside ReLU's place, so that the numbers of the layers stay.
    normed = lambda: nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5, k=2.0)) if lrn else nn.ReLU()

    conv = nn.Conv2d
    a, b, c, d, e = widths
    features = [
        conv(3, a, 11, stride=4, padding=2), normed(), nn.MaxPool2d(3, stride=2),
        conv(a, b, 5, padding=2), normed(), nn.MaxPool2d(3, stride=2),
        conv(b, c, 3, padding=1), nn.ReLU(), conv(c, d, 3, padding=1), nn.ReLU(), conv(d, e, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
    ]
    return Classifier(features, [
        nn.Dropout(0), nn.Linear(flat, hidden), nn.ReLU(), nn.Dropout(0), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, classes),
    ])


class BiasedConv(nn.Module):
    """A convolution with a bias, and ReLU."""

    def __init__(self, channels, out, **window):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, **window)

    def forward(self, x):
        return F.relu(self.conv(x))


class Inception(nn.Module):
    """Szegedy et al. 2014; `reduce` is false for the naive module."""

    def __init__(self, channels, row, unit, five, reduce):
        super().__init__()
        c1, r3, c3, r5, c5, cp = row
        b, c = (r3, r5) if reduce else (channels, channels)
        narrow = lambda out: unit(channels, out, kernel_size=1) if reduce else nn.Identity()
        self.branch1 = unit(channels, c1, kernel_size=1)
        self.branch2 = nn.Sequential(narrow(r3), unit(b, c3, kernel_size=3, padding=1))
        self.branch3 = nn.Sequential(narrow(r5), unit(c, c5, kernel_size=five, padding=five // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), narrow(cp))
        self.channels = c1 + c3 + c5 + (cp if reduce else channels)

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class SideHead(nn.Module):
    def __init__(self, channels, width, hidden, classes, unit, pool, flat):
        super().__init__()
        self.conv, self.pool = unit(channels, width, kernel_size=1), pool
        self.fc1, self.fc2 = nn.Linear(flat * width, hidden), nn.Linear(hidden, classes)

    def forward(self, x):
        return self.fc2(F.relu(self.fc1(self.conv(self.pool(x)).flatten(1))))


class GoogLeNet(nn.Module):
    """torchvision's GoogLeNet with any widths; `paper` makes it that of 2014."""

    def __init__(self, stages, stem, side, classes, paper=False, reduce=True):
        super().__init__()
        unit = BiasedConv if paper else BasicConv2d
        self.conv1 = unit(3, stem[0], kernel_size=7, stride=2, padding=3)
        self.conv2 = unit(stem[0], stem[1], kernel_size=1)
        self.conv3 = unit(stem[1], stem[2], kernel_size=3, padding=1)
        self.norm = nn.LocalResponseNorm(5) if paper else nn.Identity()
        channels = stem[2]
        self.rows, self.pools = [], [3, 3, 3 if paper else 2]
        for stage, rows in enumerate(stages):
            for letter, row in zip("abcde", rows):
                module = Inception(channels, row, unit, 5 if paper else 3, reduce)
                channels = module.channels
                setattr(self, f"inception{stage + 3}{letter}", module)
                aux = {"4a": "aux1", "4d": "aux2"}.get(f"{stage + 3}{letter}")
                self.rows.append((stage, module, aux))
                if aux:
                    pool, flat = (nn.AvgPool2d(5, stride=3), 1) if paper else (nn.AdaptiveAvgPool2d(4), 16)
                    setattr(self, aux, SideHead(channels, *side, classes, unit, pool, flat))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        pool = lambda x, size: F.max_pool2d(x, size, stride=2, ceil_mode=True)
        x = self.norm(pool(self.conv1(x), 3))
        x = self.norm(self.conv3(self.conv2(x)))
        sides, last = [], None
        for stage, module, aux in self.rows:
            if stage != last:
                x, last = pool(x, self.pools[stage]), stage
            x = module(x)
            if aux and self.training:
                sides.append(getattr(self, aux)(x))
        logits = self.fc(x.mean((2, 3)))
        return (logits, *sides) if self.training else logits


def loss_with_sides(output, inputs):
    logits, *sides = output
    entropy = lambda x: F.cross_entropy(x, inputs["label"])
    return entropy(logits) + float(np.float32(0.3)) * sum(map(entropy, sides))


class ConvBN(nn.Module):
    def __init__(self, channels, out, k, stride=1):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, out, k, stride, k // 2, bias=False), nn.BatchNorm2d(out)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class DoubleInception(nn.Module):
    """Ioffe & Szegedy 2015; without `c1` the stride is 2 and the pooled image is passed through."""

    def __init__(self, channels, c1, r3, c3, rd, cd, pool, cp):
        super().__init__()
        stride = 1 if c1 else 2
        self.conv1 = ConvBN(channels, c1, 1) if c1 else None
        self.reduce3, self.conv3 = ConvBN(channels, r3, 1), ConvBN(r3, c3, 3, stride)
        self.reduce_double = ConvBN(channels, rd, 1)
        self.double1, self.double2 = ConvBN(rd, cd, 3), ConvBN(cd, cd, 3, stride)
        self.pool = {"max_pool": nn.MaxPool2d, "avg_pool": nn.AvgPool2d}[pool](3, stride, 1)
        self.project = ConvBN(channels, cp, 1) if c1 else nn.Identity()
        self.channels = c1 + c3 + cd + (cp if c1 else channels)

    def forward(self, x):
        parts = [self.conv1(x)] if self.conv1 else []
        double = self.double2(self.double1(self.reduce_double(x)))
        return torch.cat([*parts, self.conv3(self.reduce3(x)), double, self.project(self.pool(x))], 1)


class InceptionBN(nn.Module):
    def __init__(self, modules, stem, classes):
        super().__init__()
        a, b, channels = stem
        self.conv1, self.conv2, self.conv3 = ConvBN(3, a, 7, 2), ConvBN(a, b, 1), ConvBN(b, channels, 3)
        self.inception = nn.ModuleList()
        for row in modules:
            self.inception.append(DoubleInception(channels, *row))
            channels = self.inception[-1].channels
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, 1)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, 2, 1)
        for module in self.inception:
            x = module(x)
        return self.fc(x.mean((2, 3)))


class MLP(nn.Module):
    def __init__(self, features, widths, classes):
        super().__init__()
        ends = [features, *widths]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in zip(ends, widths))
        self.out = nn.Linear(ends[-1], classes)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        logits = self.out(x)
        return logits if self.training else (logits, logits.softmax(1))


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        logits = self.fc2(F.relu(self.fc1(x.flatten(1))))
        return logits if self.training else (logits, logits.softmax(1))


def mobilenet(stages, stem, head, classes):
    """torchvision's MobileNetV2 with other ends."""
    block = ops.misc.Conv2dNormActivation
    module = mobilenetv2.MobileNetV2(classes, 1.0, stages, round_nearest=1, dropout=0.0)
    module.features[0] = block(3, stem, stride=2, activation_layer=nn.ReLU6)
    module.features[1] = mobilenetv2.InvertedResidual(stem, stages[0][1], stages[0][3], stages[0][0])
    module.features[-1] = block(stages[-1][1], head, kernel_size=1, activation_layer=nn.ReLU6)
    module.classifier[1] = nn.Linear(head, classes)
    return module


MOBILE = [[1, 8, 1, 1], [3, 8, 2, 2], [3, 8, 3, 1], [2, 8, 4, 1], [2, 8, 3, 1], [2, 8, 3, 1], [3, 8, 1, 1]]

# In place of data sets whose images have another size; nothing is read.
ANY_SIZE = {key: 'images("any")' for key in ("data", "validate")}

INCEPTION = [
    [[4, 4, 8, 2, 4, 4], [8, 6, 8, 2, 4, 4]],
    [[8, 4, 8, 2, 4, 4], [6, 4, 8, 3, 4, 4], [8, 4, 8, 2, 4, 4], [4, 6, 8, 2, 4, 4]],
    [[8, 6, 12, 4, 8, 8]],
]
WIDE = [[[8, 8, 12, 4, 8, 8]], [[8, 8, 12, 4, 8, 8]] * 4, [[8, 8, 12, 4, 8, 8]]]
NAIVE = [[[4, 0, 4, 0, 4, 0]], [[4, 0, 4, 0, 2, 0]] * 4, [[4, 0, 4, 0, 4, 0]]]
DOUBLE = [
    [4, 4, 6, 4, 6, "avg_pool", 4], [0, 4, 6, 4, 6, "max_pool", 0], [8, 4, 6, 4, 8, "avg_pool", 4],
    [8, 6, 8, 6, 8, "max_pool", 6],
]

# The small networks of tests/fixtures/networks, by the name of their folder.
class Rows(nn.Module):
    """Recurrent layers over the rows of an image, of one layer each as in Kiln."""

    def __init__(self, kind, hidden, layers):
        super().__init__()
        sizes = [8] + [hidden] * layers
        self.kind = kind
        layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        setattr(self, kind, nn.ModuleList(layer(i, o, batch_first=True) for i, o in zip(sizes, sizes[1:])))
        self.fc = nn.Linear(hidden, 10)

    def forward(self, image):
        x = image[:, 0]
        for layer in getattr(self, self.kind):
            x, _ = layer(x)
        return self.fc(x[:, -1])


NETWORKS = {
    **{
        kind: Network(
            "dsl/models/lstm.kiln", lambda kind=kind: Rows(kind, 6, 2), (1, 8, 8),
            set={"unit": f'"{kind}"', "hidden": "6", "layers": "2"}, lr=0.1,
        )
        for kind in ("lstm", "gru", "rnn")
    },
    "mlp": Network(
        "dsl/models/mlp.kiln", lambda: MLP(784, [12, 8], 10), (1, 28, 28), set={"widths": "[12, 8]"},
        outputs=("logits", "prob"),
    ),
    "digits": Network("dsl/models/digits.kiln", Digits, (1, 8, 8), outputs=("logits", "prob")),
    "alexnet": Network(
        "dsl/models/alexnet.kiln", lambda: alexnet([4, 6, 8, 8, 6], 16, 10, 6), (3, 64, 64),
        set={"widths": "[4, 6, 8, 8, 6]", "hidden": "16", "classes": "10"}, names="dsl/models/alexnet.names",
    ),
    "alexnet_lrn": Network(
        "dsl/models/alexnet.kiln", lambda: alexnet([6, 6, 8, 8, 6], 16, 10, 6, lrn=True), (3, 64, 64),
        set={"widths": "[6, 6, 8, 8, 6]", "hidden": "16", "classes": "10", "local_norm": "true"},
        names="dsl/models/alexnet.names",
    ),
    "googlenet": Network(
        "dsl/models/googlenet.kiln", lambda: GoogLeNet(WIDE, [8, 8, 16], [4, 12], 10), (3, 96, 96),
        set={"stages": str(WIDE), "stem": "[8, 8, 16]", "side": "[4, 12]", "classes": "10"},
        names="dsl/models/googlenet.names", loss=loss_with_sides, lr=0.0004, gain=5, seed=2,
    ),
    "googlenet_lrn": Network(
        "dsl/models/googlenet.kiln", lambda: GoogLeNet(INCEPTION, [4, 4, 8], [4, 12], 10, paper=True), (3, 80, 80),
        set={"stages": str(INCEPTION), "stem": "[4, 4, 8]", "side": "[4, 12]", "classes": "10", "paper": "true"},
        names="dsl/models/googlenet.names", loss=loss_with_sides, batch=2,
    ),
    "googlenet_naive": Network(
        "dsl/models/googlenet.kiln", lambda: GoogLeNet(NAIVE, [4, 4, 4], [4, 12], 10, reduce=False), (3, 64, 64),
        set={"stages": str(NAIVE), "stem": "[4, 4, 4]", "side": "[4, 12]", "classes": "10",
             "reduce": "false"},
        names="dsl/models/googlenet.names", loss=loss_with_sides,
    ),
    "inception_bn": Network(
        "dsl/models/inception_bn.kiln", lambda: InceptionBN(DOUBLE, [4, 4, 8], 10), (3, 64, 64),
        set={"modules": str(DOUBLE).replace("'", ""), "stem": "[4, 4, 8]", "classes": "10"}, lr=0.001, seed=2,
    ),
    "resnet18": Network(
        "dsl/models/resnet.kiln", lambda: ResNet(resnet.BasicBlock, [1, 2, 1], 8, 10),
        set={"unit": "basic", "depths": "[1, 2, 1]", "width": "8", "classes": "10"}, names="dsl/models/resnet.names",
    ),
    "resnet50": Network(
        "dsl/models/resnet.kiln", lambda: ResNet(resnet.Bottleneck, [1, 2], 8, 10),
        set={"depths": "[1, 2]", "width": "8", "classes": "10"}, names="dsl/models/resnet.names", seed=1,
    ),
    "cifar_resnet20": Network(
        "dsl/models/cifar_resnet.kiln", lambda: CifarResNet(padded_unit, [2, 2, 2], 4, 10), (3, 16, 16),
        set={"depth": "2", "width": "4", **ANY_SIZE},
    ),
    "cifar_resnet18": Network(
        "dsl/models/cifar_resnet18.kiln", lambda: CifarResNet(projected_unit, [1, 2, 1], 6, 10), (3, 16, 16),
        set={"depths": "[1, 2, 1]", "width": "6", **ANY_SIZE},
    ),
    "preact_resnet": Network(
        "dsl/models/preact_resnet.kiln", lambda: preact_resnet(2, 4), (3, 16, 16),
        set={"depth": "2", "width": "4", **ANY_SIZE}, lr=0.003, seed=1,
    ),
    "vgg16": Network(
        "dsl/models/vgg.kiln", lambda: vgg([[4, 4], [8, 8], [8, 8, 8]], 24, 10, 16), (3, 16, 16),
        set={"stages": "[[4, 4], [8, 8], [8, 8, 8]]", "hidden": "24", "classes": "10"}, names="dsl/models/vgg.names",
    ),
    "mobilenet_v2": Network(
        "dsl/models/mobilenet.kiln", lambda: mobilenet(MOBILE, 8, 32, 10),
        set={"stages": str(MOBILE), "stem": "8", "head": "32", "classes": "10"}, names="dsl/models/mobilenet.names",
        lr=0.003, seed=2,
    ),
    "gpt": Network(
        "dsl/models/gpt.kiln", lambda: gpt.GPT(layers=2, heads=4, width=16, context=12, gelu=gpt.gelu), (),
        set={"layers": "2", "heads": "4", "width": "16", "T": "12", "clip_norm": "inf"}, names="dsl/models/gpt.names",
        inputs=windows, takes=("token",), loss=lambda output, inputs: gpt.loss(output, inputs["label"]),
    ),
}
