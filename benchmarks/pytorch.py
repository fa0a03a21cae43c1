"""The default `cnn` and its attack in PyTorch, as fast as we could write them; README.md tells what each trick gave."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Network(nn.Module):
    """`models.build_cnn`. Images and features lie channels last in memory; pooling stands before the ReLU, with which
    it commutes, so that the ReLU has a quarter of the work."""

    def __init__(self, channels, num_labels, *, dropout=0.5, pool=functional.max_pool2d):
        super().__init__()
        self.pool, self.dropout = pool, dropout
        sizes = [(channels, 32), (32, 64), (64, 128)]
        self.convolutions = nn.ModuleList(nn.Conv2d(*size, 3, padding=1, bias=False) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1) for _, filters in sizes)
        self.dense, self.logits = nn.Linear(128, 128), nn.Linear(128, num_labels)

    def forward(self, x):
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x))
            x = functional.relu(self.pool(x, 2) if block < 2 else x)
        x = functional.dropout(x.mean((2, 3)), self.dropout, self.training)
        x = functional.dropout(functional.relu(self.dense(x)), self.dropout, self.training)
        return self.logits(x)


def maximum_of_slices(x, size):
    """Max-pooling by 2 that the compiler merges with its neighbours; slower than `max_pool2d` unless compiled."""
    del size
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


def transplanted(model, **settings):
    """A `Network` with the weights of our Keras model."""
    weights = {"/".join(variable.path.split("/")[-2:]): variable.numpy() for variable in model.variables}
    channels, num_labels = weights["conv1/kernel"].shape[2], weights["logits/bias"].shape[0]
    network = Network(channels, num_labels, **settings)
    state = {}
    for block in range(3):
        state[f"convolutions.{block}.weight"] = weights[f"conv{block + 1}/kernel"].transpose(3, 2, 0, 1)
        for theirs, ours in NORM_NAMES.items():
            state[f"norms.{block}.{theirs}"] = weights[f"norm{block + 1}/{ours}"]
        state[f"norms.{block}.num_batches_tracked"] = np.array(0)
    for layer in ("dense", "logits"):
        state[f"{layer}.weight"], state[f"{layer}.bias"] = weights[f"{layer}/kernel"].T, weights[f"{layer}/bias"]
    network.load_state_dict({name: torch.tensor(np.ascontiguousarray(array)) for name, array in state.items()})
    return network.to(DEVICE, memory_format=torch.channels_last)


NORM_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def frozen(network, dtype):
    """The network for an attack: BatchNorm folded into the convolutions, weights without gradients, in `dtype`."""
    network.eval().requires_grad_(False)
    for block, (convolution, norm) in enumerate(zip(network.convolutions, network.norms, strict=True)):
        network.convolutions[block], network.norms[block] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return network.to(dtype, memory_format=torch.channels_last)


def pgd(model, *, epsilon, step_size, steps, dtype="float32", compiled=False):
    """A function `attack(images, labels)`, numpy in and out, channels last like ours: PGD on the BCE of all labels.

    Args:
        model: Our Keras model, whose weights are copied.
        dtype: Of weights and features; the images, the loss and the step are float32.
        compiled: Whether a step is compiled by `torch.compile`, forward and backward pass in one graph.
    """
    dtype = getattr(torch, dtype)
    network = frozen(transplanted(model, pool=maximum_of_slices if compiled else functional.max_pool2d), dtype)

    def loss(images, labels):
        logits = network(images.to(dtype)).float()
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")

    def gradient(images, labels):
        images = images.detach().requires_grad_()
        return torch.autograd.grad(loss(images, labels), images)[0]

    gradient = torch.func.grad(loss) if compiled else gradient

    def step(images, labels, low, high):
        return torch.clamp(images + step_size * gradient(images, labels).sign(), low, high)

    step = torch.compile(step) if compiled else step

    def attack(images, labels):
        clean = torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2)
        labels = torch.from_numpy(labels).to(DEVICE)
        low, high = (clean - epsilon).clamp_(min=0), (clean + epsilon).clamp_(max=1)
        adversarial = torch.clamp(clean + torch.empty_like(clean).uniform_(-epsilon, epsilon), low, high)
        for _ in range(steps):
            adversarial = step(adversarial, labels, low, high)
        return adversarial.permute(0, 2, 3, 1).cpu().numpy()

    return attack


def random_matrix(size, dtype):
    return torch.randn(size, size, device=DEVICE, dtype=getattr(torch, dtype))
