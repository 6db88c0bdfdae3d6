"""Writes tests/fixtures/std.kiln and std.safetensors: what PyTorch computes for the standard library.

    python tests/pytorch/std.py [--output DIR]

Every case is a model in the language beside the same in PyTorch. Inputs and weights are exact in f32, results are
computed in f64 and stored as their f32 and the rest. tests/library_pytorch.rs compares. Keys of the file:

    CASE/input/NAME, CASE/weight/NAME     what the model is given
    CASE/output/NAME, CASE/output/NAME+   a result, and what rounding it to f32 left
    CASE/update/NAME, CASE/update/NAME+   a weight or state after CASE/steps steps of a model with a train section
"""

import argparse
import math
import pathlib
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "fixtures"

texts, tensors = [], {}


def exact(x):
    """The nearest f32, in f64."""
    return x.float().double()


def rounded(x):
    """A number as the language's constants have it."""
    return torch.tensor(x).float().item()


def seed(name):
    torch.manual_seed(zlib.crc32(name.encode()))


def values(*shape):
    return exact(1.5 * torch.randn(*shape, dtype=torch.double))


def record(name, kind, items):
    for key, x in items.items():
        x = torch.as_tensor(x).detach().clone().contiguous()
        if x.dtype in (torch.int64, torch.int32):
            tensors[f"{name}/{kind}/{key}"] = x.int()
            continue
        tensors[f"{name}/{kind}/{key}"] = x.float()
        if kind in ("output", "update"):
            tensors[f"{name}/{kind}/{key}+"] = (x.double() - x.float().double()).float()


def case(name, signature, expression, function, **inputs):
    """A function of its inputs, each a shape (of f32) or a tensor."""
    name = f"check_{name}"
    seed(name)
    given = {key: values(*x) if isinstance(x, tuple) else x for key, x in inputs.items()}
    texts.append(f"model {name}({signature}) = {expression} as result")
    record(name, "input", given)
    record(name, "output", {"result": function(*given.values())})


def module(name, signature, expression, net, rename={}, **inputs):
    """A module with weights; `expression` labels it `m`."""
    name = f"check_{name}"
    seed(name)
    net = net().double().eval()
    with torch.no_grad():
        for key, x in net.state_dict().items():
            if x.is_floating_point():
                x.copy_(exact(x + 0.3 * torch.rand_like(x)))
    given = {key: values(*x) if isinstance(x, tuple) else x for key, x in inputs.items()}
    texts.append(f"model {name}({signature}) {{ result = {expression} return result }}")
    record(name, "input", given)
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    record(name, "weight", {rename.get(key, f"m.{key}"): x for key, x in state.items()})
    record(name, "output", {"result": net(*given.values())})


def training(name, keys, optimizer, steps=5, schedule=None, clip=None):
    """Steps of an optimizer on one batch of a linear layer."""
    name = f"check_{name}"
    seed(name)
    x, w = values(4, 3), nn.Parameter(values(2, 3))
    texts.append(
        f"model {name}(x: f32[N=4, C=3]) {{ y = x |> linear(2, bias=false) as m return y }}\n"
        f"train {name} {{ loss = mean((y - 0.5)^2) {keys} epochs = 8 }}"
    )
    record(name, "input", {"x": x})
    record(name, "weight", {"m.weight": w})
    optimizer = optimizer([w])
    schedule = schedule and schedule(optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((x @ w.T - 0.5) ** 2).mean()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_([w], clip)
        optimizer.step()
        if schedule:
            schedule.step()
    record(name, "output", {"loss": loss})
    record(name, "update", {"m.weight": w})
    tensors[f"{name}/steps"] = torch.tensor(steps, dtype=torch.int32)


def activations():
    def unary(name, function, text=None):
        case(name, "x: f32[N=4, C=6]", text or f"{name}(x)", function, x=(4, 6))

    unary("relu", F.relu)
    unary("relu6", lambda x: F.relu6(4 * x), "relu6(4 * x)")
    unary("leaky_relu", lambda x: F.leaky_relu(x, rounded(0.01)))
    unary("elu", F.elu)
    unary("selu", F.selu)
    unary("gelu", F.gelu)
    unary("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"))
    unary("silu", F.silu)
    unary("swish", lambda x: x * torch.sigmoid(1.5 * x), "swish(x, beta=1.5)")
    unary("mish", F.mish)
    unary("hard_tanh", F.hardtanh)
    unary("hard_sigmoid", lambda x: F.hardsigmoid(4 * x), "hard_sigmoid(4 * x)")
    unary("hard_swish", lambda x: F.hardswish(4 * x), "hard_swish(4 * x)")
    unary("softplus", F.softplus)
    unary("softplus_beta", lambda x: F.softplus(x, beta=2), "softplus(x, beta=2)")
    unary("softsign", F.softsign)
    unary("log_sigmoid", F.logsigmoid)
    unary("tanh", torch.tanh)
    unary("sigmoid", torch.sigmoid)
    unary("erf", torch.erf)
    unary("glu", lambda x: F.glu(x, -1))
    unary("softmax", lambda x: F.softmax(x, -1))
    unary("softmax_temperature", lambda x: F.softmax(x / 0.5, 0), "softmax[N](x, temperature=0.5)")
    unary("log_softmax", lambda x: F.log_softmax(x, -1))
    # Far out and near 0, where rounding eats what matters.
    edge = torch.tensor([-80.0, -20, -5, -1e-4, -1e-7, 1e-7, 1e-4, 5, 20, 80])
    for name, function in [
        ("elu", F.elu), ("softplus", F.softplus), ("log_sigmoid", F.logsigmoid), ("silu", F.silu), ("mish", F.mish),
        ("expm1", torch.expm1), ("sigmoid", torch.sigmoid),
    ]:
        x = edge.clamp(max=5) if name == "expm1" else edge
        # PyTorch's softplus is the identity above 20, to where it differs by 2e-9.
        case(f"{name}_edge", "x: f32[N=10]", f"{name}(x)", function, x=exact(x.double()))
    case("log1p", "x: f32[N=10]", "log1p(x)", torch.log1p, x=exact(edge.abs().double()))
    module("prelu", "x: f32[N=2, C=3, H=2, W=2]", "x |> prelu as m", nn.PReLU, x=(2, 3, 2, 2))
    module("prelu_each", "x: f32[N=2, C=3, H=2, W=2]", "x |> prelu(shared=false) as m", lambda: nn.PReLU(3), x=(2, 3, 2, 2))


def convolutions():
    image = "x: f32[N=2, C=4, H=7, W=6]"

    def both(name, text, net, **other):
        module(name, image, f"x |> {text} as m", net, x=(2, 4, 7, 6), **other)

    both("conv", "conv(6, 3)", lambda: nn.Conv2d(4, 6, 3))
    both("conv_strided", "conv(3, 3, stride=2, pad=1, bias=false)", lambda: nn.Conv2d(4, 3, 3, 2, 1, bias=False))
    both("conv_sides", "conv(3, [3, 5], stride=[1, 2], pad=[0, 2])", lambda: nn.Conv2d(4, 3, (3, 5), (1, 2), (0, 2)))
    both("conv_grouped", "conv(6, 3, groups=2)", lambda: nn.Conv2d(4, 6, 3, groups=2))
    both("conv_dilated", "conv(3, 3, dilation=[3, 2], pad=2)", lambda: nn.Conv2d(4, 3, 3, padding=2, dilation=(3, 2)))
    both("conv_same", 'conv(3, [4, 3], pad="same")', lambda: nn.Conv2d(4, 3, (4, 3), padding="same"))
    both("depthwise", "depthwise(3)", lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4))
    both("depthwise_twice", "depthwise(3, stride=2, pad=1, multiplier=2)", lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=4))
    both("conv_transpose", "conv_transpose(3, 2, stride=2)", lambda: nn.ConvTranspose2d(4, 3, 2, 2))
    both(
        "conv_transpose_padded", "conv_transpose(3, [3, 4], stride=[2, 3], pad=1, output_pad=[1, 2])",
        lambda: nn.ConvTranspose2d(4, 3, (3, 4), (2, 3), 1, (1, 2)),
    )
    both(
        "conv_transpose_grouped", "conv_transpose(6, 3, stride=2, pad=3, dilation=2, groups=2, bias=false)",
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 3, groups=2, dilation=2, bias=False),
    )
    both("conv_transpose_cut", "conv_transpose(3, 2, stride=2, pad=2)", lambda: nn.ConvTranspose2d(4, 3, 2, 2, 2))
    series = "x: f32[N=2, C=4, T=9]"
    module(
        "conv1d", series, "x |> conv1d(6, 3, stride=2, pad=2, dilation=2, groups=2) as m",
        lambda: nn.Conv1d(4, 6, 3, 2, 2, 2, 2), x=(2, 4, 9),
    )
    module("conv1d_same", series, 'x |> conv1d[T](3, 4, pad="same") as m', lambda: nn.Conv1d(4, 3, 4, padding="same"), x=(2, 4, 9))

    def pool(name, text, function):
        case(name, image, text, function, x=(2, 4, 7, 6))

    pool("max_pool", "max_pool(x, 2)", lambda x: F.max_pool2d(x, 2))
    pool("max_pool_padded", "max_pool(x, 3, stride=2, pad=1)", lambda x: F.max_pool2d(x, 3, 2, 1))
    pool("max_pool_ceil", "max_pool(x, 3, stride=2, ceil=true)", lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True))
    pool("max_pool_ceil_padded", "max_pool(x, 2, stride=3, pad=1, ceil=true)", lambda x: F.max_pool2d(x, 2, 3, 1, ceil_mode=True))
    pool(
        "max_pool_sides", "max_pool(x, [3, 2], stride=[2, 1], pad=[1, 0], dilation=[1, 2])",
        lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), (1, 2)),
    )
    pool("avg_pool", "avg_pool(x, 2)", lambda x: F.avg_pool2d(x, 2))
    pool("avg_pool_padded", "avg_pool(x, 3, stride=2, pad=1)", lambda x: F.avg_pool2d(x, 3, 2, 1))
    pool("avg_pool_own", "avg_pool(x, 3, stride=2, pad=1, count_pad=false)", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    pool("avg_pool_ceil", "avg_pool(x, 3, stride=2, pad=1, ceil=true)", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True))
    pool(
        "avg_pool_ceil_own", "avg_pool(x, 3, stride=2, pad=1, ceil=true, count_pad=false)",
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    )
    pool("avg_pool_sides", "avg_pool(x, [3, 2], stride=[1, 2])", lambda x: F.avg_pool2d(x, (3, 2), (1, 2)))
    pool("global_pool", "global_pool(x)", lambda x: x.mean((2, 3)))
    pool("global_max_pool", "global_max_pool(x)", lambda x: x.amax((2, 3)))
    pool("adaptive_avg_pool", "adaptive_avg_pool(x, [3, 4])", lambda x: F.adaptive_avg_pool2d(x, (3, 4)))
    pool("adaptive_avg_pool_even", "adaptive_avg_pool(x, [7, 2])", lambda x: F.adaptive_avg_pool2d(x, (7, 2)))
    pool("adaptive_avg_pool_more", "adaptive_avg_pool(x, 9)", lambda x: F.adaptive_avg_pool2d(x, 9))
    pool("adaptive_max_pool", "adaptive_max_pool(x, [3, 4])", lambda x: F.adaptive_max_pool2d(x, (3, 4)))


def images():
    def same(name, text, function):
        case(name, "x: f32[N=2, C=4, H=4, W=5]", text, function, x=(2, 4, 4, 5))

    same("zero_pad", "zero_pad(x, [1, -1], [0, 2])", lambda x: F.pad(x, (-1, 2, 1, 0)))
    same("replicate_pad", "replicate_pad(x, [1, 2])", lambda x: F.pad(x, (2, 2, 1, 1), "replicate"))
    same("reflect_pad", "reflect_pad(x, [3, 2])", lambda x: F.pad(x, (2, 2, 3, 3), "reflect"))
    same("upsample", "upsample(x, [2, 3])", lambda x: F.interpolate(x, scale_factor=(2, 3)))
    same("resize_nearest", "resize_nearest(x, [7, 3])", lambda x: F.interpolate(x, (7, 3)))
    for name, corners in ("", False), ("_corners", True):
        def bilinear(x, size):
            return F.interpolate(x, size, mode="bilinear", align_corners=corners)

        argument = ", align_corners=true" if corners else ""
        same(f"bilinear{name}", f"resize_bilinear(x, [8, 10]{argument})", lambda x: bilinear(x, (8, 10)))
        same(f"bilinear_odd{name}", f"resize_bilinear(x, [3, 11]{argument})", lambda x: bilinear(x, (3, 11)))
        same(f"bilinear_one{name}", f"resize_bilinear(x, 1{argument})", lambda x: bilinear(x, 1))
    same("pixel_shuffle", "pixel_shuffle(x, 2)", lambda x: F.pixel_shuffle(x, 2))
    case("pixel_unshuffle", "x: f32[N=2, C=2, H=4, W=6]", "pixel_unshuffle(x, 2)", lambda x: F.pixel_unshuffle(x, 2), x=(2, 2, 4, 6))


def layers():
    module("linear", "x: f32[N=3, C=5]", "x |> linear(4) as m", lambda: nn.Linear(5, 4), x=(3, 5))
    module("linear_deep", "x: f32[N=3, T=2, C=5]", "x |> linear(4, bias=false) as m", lambda: nn.Linear(5, 4, bias=False), x=(3, 2, 5))
    module(
        "embedding", "token: i32[N=2, T=4]", "token |> embedding(6, 3) as m", lambda: nn.Embedding(6, 3),
        token=torch.tensor([[0, 5, 2, 2], [1, 4, 3, 0]]),
    )
    case("flatten", "x: f32[N=2, C=3, H=2, W=4]", "flatten(x)", lambda x: x.flatten(1), x=(2, 3, 2, 4))

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.shortcut = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)

        def forward(self, x):
            return self.body(x) + self.shortcut(x)

    class Parallel(nn.Module):
        def __init__(self):
            super().__init__()
            self.path = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 3, padding=1)])

        def forward(self, x):
            return torch.cat([path(x) for path in self.path], 1)

    image = "x: f32[N=2, C=4, H=3, W=3]"
    module("residual", image, "x |> residual(conv(6, 3, pad=1), shortcut=conv(6, 1)) as m", Residual, x=(2, 4, 3, 3))
    module("parallel", image, "x |> parallel([conv(2, 1), conv(3, 3, pad=1)]) as m", Parallel, x=(2, 4, 3, 3))


def norms():
    image = "x: f32[N=3, C=4, H=2, W=3]"

    def both(name, text, net):
        module(name, image, f"x |> {text} as m", net, x=(3, 4, 2, 3))

    both("batch_norm", "batch_norm", lambda: nn.BatchNorm2d(4))
    both("layer_norm", "layer_norm[W]", lambda: nn.LayerNorm(3))
    both("layer_norm_plain", "layer_norm(bias=false)", lambda: nn.LayerNorm(3, bias=False))
    both("group_norm", "group_norm(2)", lambda: nn.GroupNorm(2, 4))
    both("instance_norm", "instance_norm", lambda: nn.InstanceNorm2d(4))
    both("instance_norm_affine", "instance_norm(affine=true)", lambda: nn.InstanceNorm2d(4, affine=True))
    both("rms_norm", "rms_norm(eps=1.1920929e-7)", lambda: nn.RMSNorm(3, eps=rounded(1.1920929e-7)))
    case("scale_norm", "x: f32[N=3, C=5]", "scale_norm(x)", lambda x: F.normalize(x, dim=1), x=(3, 5))
    many = "x: f32[N=2, C=8, H=2, W=2]"
    case("lrn", many, "lrn(x, size=5, alpha=0.5)", lambda x: F.local_response_norm(x, 5, 0.5), x=(2, 8, 2, 2))
    case("lrn_even", many, "lrn(x, size=4, alpha=0.5, beta=0.5, k=2)", lambda x: F.local_response_norm(x, 4, 0.5, 0.5, 2), x=(2, 8, 2, 2))

    # In training: the batch's own statistics, and what becomes of the running ones.
    seed("check_batch_norm_training")
    x, net = values(3, 4, 2, 3), nn.BatchNorm2d(4).double()
    texts.append(
        "model check_batch_norm_training(x: f32[N=3, C=4, H=2, W=3]) { y = x |> batch_norm as m return y }\n"
        "train check_batch_norm_training { loss = mean(sin(y)) optimizer = sgd(lr=0.5) }"
    )
    record("check_batch_norm_training", "input", {"x": x})
    state = lambda: {f"m.{k}": v for k, v in net.state_dict().items() if v.is_floating_point()}
    record("check_batch_norm_training", "weight", state())
    loss = torch.sin(net(x)).mean()
    loss.backward()
    torch.optim.SGD(net.parameters(), 0.5).step()
    record("check_batch_norm_training", "output", {"loss": loss})
    record("check_batch_norm_training", "update", state())
    tensors["check_batch_norm_training/steps"] = torch.tensor(1, dtype=torch.int32)


def attention():
    class Attention(nn.Module):
        def __init__(self, causal, width=8, memory=None):
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2, batch_first=True, kdim=memory, vdim=memory)
            self.causal = causal

        def forward(self, x, memory=None):
            memory = x if memory is None else memory
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if self.causal else None
            return self.mha(x, memory, memory, attn_mask=mask, need_weights=False)[0]

    names = {
        "mha.in_proj_weight": "m.qkv.weight", "mha.in_proj_bias": "m.qkv.bias",
        "mha.out_proj.weight": "m.proj.weight", "mha.out_proj.bias": "m.proj.bias",
    }
    for name, causal in ("attention", True), ("attention_full", False):
        text = "attention(2)" if causal else "attention(2, causal=false)"
        module(name, "x: f32[N=2, T=5, E=8]", f"x |> {text} as m", lambda: Attention(causal), names, x=(2, 5, 8))

    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv, self.proj = nn.Linear(8, 8), nn.Linear(6, 16), nn.Linear(8, 8)

        def forward(self, x, memory):
            heads = lambda t: t.unflatten(2, (2, 4)).transpose(1, 2)
            k, v = self.kv(memory).chunk(2, 2)
            y = F.scaled_dot_product_attention(heads(self.q(x)), heads(k), heads(v))
            return self.proj(y.transpose(1, 2).flatten(2))

    module(
        "cross_attention", "x: f32[N=2, T=3, E=8], memory: f32[N=2, S=5, E=6]", "cross_attention(2)(x, memory) as m", Cross,
        x=(2, 3, 8), memory=(2, 5, 6),
    )


def losses():
    label = torch.tensor([2, 0, 4, 1])
    logits = "x: f32[N=4, C=5], label: i32[N=4]"
    pair = "x: f32[N=4, C=5], y: f32[N=4, C=5]"

    def labelled(name, text, function):
        case(name, logits, text, lambda x, label: function(x, label.long()), x=(4, 5), label=label)

    def paired(name, text, function):
        case(name, pair, text, function, x=(4, 5), y=(4, 5))

    labelled("cross_entropy", "cross_entropy(x, label)", F.cross_entropy)
    labelled("cross_entropy_smooth", "cross_entropy(x, label, smoothing=0.125)", lambda x, t: F.cross_entropy(x, t, label_smoothing=0.125))
    case(
        "cross_entropy_pixels", "x: f32[N=2, C=5, H=2, W=2], label: i32[N=2, H=2, W=2]", "cross_entropy(x, label)",
        lambda x, label: F.cross_entropy(x, label.long()), x=(2, 5, 2, 2), label=torch.tensor([[[0, 4], [2, 2]], [[1, 3], [0, 4]]]),
    )
    labelled("nll", "negative_log_likelihood(log_softmax(x), label)", lambda x, t: F.nll_loss(F.log_softmax(x, 1), t))
    labelled("multi_margin", "multi_margin(x, label)", F.multi_margin_loss)
    labelled("multi_margin_wide", "multi_margin(x, label, margin=2.5)", lambda x, t: F.multi_margin_loss(x, t, margin=2.5))
    labelled("accuracy", "accuracy(x, label)", lambda x, t: (x.argmax(1) == t).double().mean())
    labelled("top_k_accuracy", "top_k_accuracy(x, label, k=2)", lambda x, t: (x.topk(2).indices == t[:, None]).any(1).double().mean())
    paired("binary_cross_entropy", "binary_cross_entropy(x, sigmoid(y))", lambda x, y: F.binary_cross_entropy_with_logits(x, y.sigmoid()))
    paired("mean_squared_error", "mean_squared_error(x, y)", F.mse_loss)
    paired("mean_absolute_error", "mean_absolute_error(x, y)", F.l1_loss)
    paired("huber", "huber(x, y, delta=0.75)", lambda x, y: F.huber_loss(x, y, delta=0.75))
    paired("smooth_l1", "smooth_l1(x, y, beta=0.75)", lambda x, y: F.smooth_l1_loss(x, y, beta=0.75))
    paired("hinge", "hinge(x, where(y < 0, -1, 1))", lambda x, y: (1 - x * torch.where(y < 0, -1.0, 1.0)).clamp(min=0).mean())
    paired(
        "kl_divergence", "kl_divergence(log_softmax(x), softmax(y))",
        lambda x, y: F.kl_div(F.log_softmax(x, 1), F.softmax(y, 1), reduction="batchmean"),
    )
    case(
        "kl_divergence_sure", "x: f32[N=2, C=2], y: f32[N=2, C=2]", "kl_divergence(log_softmax(x), y)",
        lambda x, y: F.kl_div(F.log_softmax(x, 1), y, reduction="batchmean"), x=(2, 2), y=torch.tensor([[1.0, 0], [0.25, 0.75]]).double(),
    )


class Lamb(torch.optim.Optimizer):
    """You et al. 2020, with the bias correction of its first version."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (b1, b2), eps = group["betas"], group["eps"]
            for p in group["params"]:
                s = self.state[p]
                s["t"] = s.get("t", 0) + 1
                s["m"] = b1 * s.get("m", 0) + (1 - b1) * p.grad
                s["v"] = b2 * s.get("v", 0) + (1 - b2) * p.grad**2
                u = s["m"] / (1 - b1 ** s["t"]) / ((s["v"] / (1 - b2 ** s["t"])).sqrt() + eps) + group["weight_decay"] * p
                p -= group["lr"] * p.norm() / u.norm() * u


def optimizers():
    optim, rates = torch.optim, torch.optim.lr_scheduler
    # Numbers that are exact in f32, so that the f64 engine computes with the same.
    training("sgd", "optimizer = sgd(lr=0.125)", lambda w: optim.SGD(w, 0.125))
    training("sgd_momentum", "optimizer = sgd(lr=0.125, momentum=0.875, weight_decay=0.25)", lambda w: optim.SGD(w, 0.125, 0.875, weight_decay=0.25))
    training(
        "sgd_nesterov", "optimizer = sgd(lr=0.125, momentum=0.875, weight_decay=0.25, nesterov=true)",
        lambda w: optim.SGD(w, 0.125, 0.875, weight_decay=0.25, nesterov=True),
    )
    training("adam", "optimizer = adam(lr=0.125)", lambda w: optim.Adam(w, 0.125))
    training("adam_decay", "optimizer = adam(lr=0.125, weight_decay=0.25)", lambda w: optim.Adam(w, 0.125, weight_decay=0.25))
    training("adamw", "optimizer = adamw(lr=0.125, weight_decay=0.25)", lambda w: optim.AdamW(w, 0.125, weight_decay=0.25))
    training("rmsprop", "optimizer = rmsprop(lr=0.125)", lambda w: optim.RMSprop(w, 0.125))
    training(
        "rmsprop_momentum", "optimizer = rmsprop(lr=0.125, decay=0.875, momentum=0.5, weight_decay=0.25)",
        lambda w: optim.RMSprop(w, 0.125, 0.875, momentum=0.5, weight_decay=0.25),
    )
    training("lamb", "optimizer = lamb(lr=0.125)", lambda w: Lamb(w, 0.125))
    training("clip_norm", "optimizer = sgd(lr=0.125) clip_norm = 0.5", lambda w: optim.SGD(w, 0.125), clip=0.5)
    sgd = lambda w: optim.SGD(w, 0.25)
    for name, text, schedule in [
        ("cosine", "cosine(0.25, floor=0.0625)", lambda o: rates.CosineAnnealingLR(o, 8, 0.0625)),
        ("step_decay", "step_decay(0.25, every=2, factor=0.5)", lambda o: rates.StepLR(o, 2, 0.5)),
        ("milestones", "milestones(0.25, [1, 3, 4], factor=0.5)", lambda o: rates.MultiStepLR(o, [1, 3, 4], 0.5)),
        ("exponential_decay", "exponential_decay(0.25, factor=0.5)", lambda o: rates.ExponentialLR(o, 0.5)),
        ("linear_decay", "linear_decay(0.25, floor=0.125)", lambda o: rates.LinearLR(o, 1, 0.5, 8)),
        ("polynomial_decay", "polynomial_decay(0.25, power=2)", lambda o: rates.PolynomialLR(o, 8, 2)),
        ("warm_up", "warm_up(0.25, warmup=4)", lambda o: rates.LinearLR(o, 0.25, 1, 3)),
    ]:
        training(name, f"optimizer = sgd(lr={text})", sgd, 6, schedule)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER, metavar="DIR")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in activations, layers, convolutions, images, norms, attention, losses, optimizers:
        part()
    header = "# The standard library's part of tests/library_pytorch.rs, written by tests/pytorch/std.py with the numbers.\n\n"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "std.kiln").write_text(header + "\n\n".join(texts) + "\n")
    save_file(tensors, args.output / "std.safetensors")
    print(f"{len(texts)} cases, torch {torch.__version__}")


if __name__ == "__main__":
    main()
