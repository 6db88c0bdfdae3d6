"""LeNet as `dsl/models/lenet.kiln` describes it, and the training step that Kiln is compared with.

The shape of every weight, and the order in which `flatten` walks C, H and W, are PyTorch's own; the names
(`conv1.weight`, ..., `fc2.bias`) are those Kiln gives the same weights.
"""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


class LeNet(nn.Module):
    """Takes images [N, 1, 28, 28] in 0..1 and gives logits [N, 10].

    `conv1` and `conv2` are the output channels of the convolutions, `fc1` is the width of the hidden layer and
    `dropout` the probability of zeroing one of its values. The defaults give LeNet's 431,080 parameters.
    """

    def __init__(self, conv1=20, conv2=50, fc1=500, dropout=0.5):
        super().__init__()
        self.conv1 = nn.Conv2d(1, conv1, 5)
        self.conv2 = nn.Conv2d(conv1, conv2, 5)
        self.fc1 = nn.Linear(conv2 * 4 * 4, fc1)
        self.fc2 = nn.Linear(fc1, 10)
        self.dropout = dropout

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.conv1(image)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(F.dropout(x, self.dropout, self.training))


def digit_batch(n, seed):
    """Images [n, 1, 28, 28] (f32) and labels [n] (i64), the same for the same seed; `n` is even.

    An image is a pen stroke of random turns on an empty background: as in MNIST its values are multiples of
    1/255 and most of them are 0. The second half of the batch shows the images of the first half again under
    other labels, so that the loss cannot fall below ln 2: a loss near 0 is all rounding error.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:28, 0:28]
    images = np.zeros((n // 2, 1, 28, 28))
    for image in images[:, 0]:
        corners = random.uniform(5, 23, (5, 2))
        for start, end in zip(corners, corners[1:]):
            for t in np.linspace(0, 1, 40):
                cy, cx = start + t * (end - start)
                ink = 1.3 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 1.6)
                np.maximum(image, ink, out=image)
    images = (np.floor(np.minimum(images, 1) * 255) / 255).astype(np.float32)
    labels = random.integers(0, 10, n // 2, dtype=np.int64)
    return np.concatenate([images, images]), np.concatenate([labels, (labels + 1) % 10])


def state(model):
    """The weights of `model`, copied to NumPy, by name."""
    return {name: w.detach().numpy().copy() for name, w in model.named_parameters()}


def gradients(model):
    """The gradients that the last step left in `model`, copied to NumPy, by name."""
    return {name: w.grad.numpy().copy() for name, w in model.named_parameters()}


def train(model, image, label, steps, lr, after_step=lambda done: None):
    """Trains `model` for `steps` steps of SGD on one batch; gives the loss of each step, before its update.

    The loss is the mean softmax cross entropy. `after_step` is called with the number of steps done.
    """
    image = torch.from_numpy(image).to(model.fc2.weight.dtype)
    label = torch.from_numpy(label)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    losses = []
    for done in range(1, steps + 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(image), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        after_step(done)
    return torch.stack(losses).numpy()


def relative_norm(got, want):
    """The L2 norm of `got - want` over that of `want`, in f64."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def relative_max(got, want):
    """The largest difference of one element, relative to it."""
    return float(np.max(np.abs(got.astype(np.float64) / want - 1)))


def sensitivity(model, image, label, steps, lr, trials=4):
    """How far rounding alone moves the losses of training: the largest relative difference in any step.

    Where a ReLU or a max pool has its input next to a kink, a change in the last bit picks the other side, and
    momentum at a high learning rate multiplies the difference from step to step. Each trial therefore alters
    every weight by 3e-7 of itself (about the rounding of another order of summation) and trains again. Losses
    are worth comparing only where this stays well below the tolerance.
    """
    want = train(copy.deepcopy(model), image, label, steps, lr)
    worst = 0.0
    for trial in range(trials):
        altered = copy.deepcopy(model)
        random = torch.Generator().manual_seed(trial)
        with torch.no_grad():
            for w in altered.parameters():
                w.mul_(1 + 3e-7 * torch.randn(w.shape, generator=random))
        worst = max(worst, relative_max(train(altered, image, label, steps, lr), want))
    return worst
