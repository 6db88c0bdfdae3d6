"""GPT as `dsl/models/gpt.kiln` describes it: GPT-2's form (Radford et al. 2019), over bytes.

The names and shapes of the weights are nanoGPT's, with linear weights as `torch.nn.Linear` has them.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BYTES = 256


def gelu(x):
    """GELU by tanh, its two constants rounded to f32 as Kiln has them: beside results in f64 the rounding shows."""
    root, cubic = (float(np.float32(c)) for c in (math.sqrt(2 / math.pi), 0.044715))
    return 0.5 * x * (1 + torch.tanh(root * (x + cubic * x**3)))


class Attention(nn.Module):
    """Causal self-attention over several heads."""

    def __init__(self, width, heads, drop):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.heads, self.drop = heads, drop

    def forward(self, x):
        n, t, e = x.shape
        q, k, v = (
            part.view(n, t, self.heads, e // self.heads).transpose(1, 2) for part in self.c_attn(x).split(e, dim=2)
        )
        drop = self.drop if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=True)
        return F.dropout(self.c_proj(y.transpose(1, 2).reshape(n, t, e)), self.drop, self.training)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them: PyTorch's own, by tanh, or the one given."""

    def __init__(self, width, drop, gelu):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        self.drop, self.gelu = drop, gelu or nn.GELU("tanh")

    def forward(self, x):
        x = self.gelu(self.c_fc(x))
        return F.dropout(self.c_proj(x), self.drop, self.training)


class Block(nn.Module):
    """Attention and feed-forward, each on what a layer norm gives and added to what it was given."""

    def __init__(self, width, heads, drop, gelu):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads, drop)
        self.ln_2, self.mlp = nn.LayerNorm(width), FeedForward(width, drop, gelu)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Takes bytes [N, T] and gives the logits [N, T, 256] of each byte's successor."""

    def __init__(self, layers=4, heads=4, width=128, context=64, drop=0.0, gelu=None):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(BYTES, width),
            "wpe": nn.Embedding(context, width),
            "h": nn.ModuleList(Block(width, heads, drop, gelu) for _ in range(layers)),
            "ln_f": nn.LayerNorm(width),
        })
        self.drop = drop

    def forward(self, token):
        parts = self.transformer
        x = parts["wte"](token) + parts["wpe"](torch.arange(token.shape[1]))
        x = F.dropout(x, self.drop, self.training)
        for block in parts["h"]:
            x = block(x)
        return parts["ln_f"](x) @ parts["wte"].weight.T


def loss(logits, target):
    """The mean cross entropy of the bytes, in nats."""
    return F.cross_entropy(logits.reshape(-1, BYTES), target.reshape(-1))
