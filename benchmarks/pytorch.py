"""The default `cnn`, its attack and its training in PyTorch, as fast as we could write them.

Everything lies channels last in memory. Attacks run on weights into which BatchNorm has been folded, cast once, and ask
for the images' gradients alone; pooling stands before the ReLU, with which it commutes. README.md says what each trick
gave.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NORM_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def max_pool(x):
    """Maps of half the size, each point the largest of four."""
    return functional.max_pool2d(x, 2)


def max_of_slices(x):
    """The same in a form that the compiler merges with its neighbours; slower than `max_pool` unless compiled."""
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    rows = torch.maximum(x[:, :, 0:height:2], x[:, :, 1:height:2])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])


class Network(nn.Module):
    """`models.build_cnn`, ending in logits."""

    def __init__(self, channels, num_labels, *, dropout, pool):
        super().__init__()
        self.pool, self.dropout = pool, dropout
        sizes = [(channels, 32), (32, 64), (64, 128)]
        self.convolutions = nn.ModuleList(nn.Conv2d(*size, 3, padding=1, bias=False) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1) for _, filters in sizes)
        self.dense, self.logits = nn.Linear(128, 128), nn.Linear(128, num_labels)

    def forward(self, x):
        for block, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(x))
            x = functional.relu(self.pool(x) if block < 2 else x)
        x = functional.dropout(x.mean((2, 3)), self.dropout, self.training)
        x = functional.dropout(functional.relu(self.dense(x)), self.dropout, self.training)
        return self.logits(x)

    @torch.no_grad()
    def folded(self, dtype):
        """Weights and biases of the network in inference mode, without BatchNorm, cast and without gradients."""
        pairs = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            pairs.append((convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale))
        pairs += [(layer.weight, layer.bias) for layer in (self.dense, self.logits)]
        return [(weight.detach().to(dtype), bias.detach().to(dtype)) for weight, bias in pairs]


def transplanted(model, *, dropout=0.0, pool=max_pool):
    """A `Network` with the weights of our Keras model."""
    weights = {"/".join(variable.path.split("/")[-2:]): variable.numpy() for variable in model.variables}
    channels, num_labels = weights["conv1/kernel"].shape[2], weights["logits/bias"].shape[0]
    network = Network(channels, num_labels, dropout=dropout, pool=pool)
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


def stepper(dtype, *, pool=max_pool, compiled=False):
    """A function `step(weights, images, labels, low, high, step_size)`: one step of PGD on the BCE of all labels.

    Args:
        dtype: Of weights and features; the images, the loss and the step are float32.
        pool: `max_pool` or `max_of_slices`.
        compiled: Whether forward and backward pass are compiled as one graph.
    """

    def loss(images, weights, labels):
        *convolutions, dense, logits = weights
        x = images.to(dtype)
        for block, pair in enumerate(convolutions):
            x = functional.conv2d(x, *pair, padding=1)
            x = functional.relu(pool(x) if block < 2 else x)
        x = functional.linear(functional.relu(functional.linear(x.mean((2, 3)), *dense)), *logits)
        return functional.binary_cross_entropy_with_logits(x.float(), labels, reduction="sum")

    def eager_gradient(images, weights, labels):
        images = images.detach().requires_grad_()
        return torch.autograd.grad(loss(images, weights, labels), images)[0]

    gradient = torch.func.grad(loss) if compiled else eager_gradient

    def step(weights, images, labels, low, high, step_size):
        return torch.clamp(images + step_size * gradient(images, weights, labels).sign(), low, high)

    return torch.compile(step) if compiled else step


def ball(images, epsilon):
    """Lower and upper ends of the pixels, and a random start between them."""
    low, high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)
    return low, high, torch.clamp(images + torch.empty_like(images).uniform_(-epsilon, epsilon), low, high)


def pgd(model, *, epsilon, step_size, steps, dtype, compiled):
    """A function `attack(images, labels)`, numpy in and out, channels last: PGD on a copy of our Keras model."""
    dtype = getattr(torch, dtype)
    weights = transplanted(model).folded(dtype)
    step = stepper(dtype, pool=max_of_slices if compiled else max_pool, compiled=compiled)

    def attack(images, labels):
        clean, labels = torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2), torch.from_numpy(labels).to(DEVICE)
        low, high, adversarial = ball(clean, epsilon)
        for _ in range(steps):
            adversarial = step(weights, adversarial, labels, low, high, step_size)
        return adversarial.permute(0, 2, 3, 1).cpu().numpy()

    return attack


def trainer(model, split, config, *, dtype, adversarial, compiled):
    """A function `train(steps)` that goes on training a copy of our Keras model by the recipe of `training.py`.

    Args:
        model: Our Keras model, whose weights are copied.
        split: The training `Split`; its images stay uint8 until a step has picked its own.
        config: An `AdversarialConfig`.
        dtype: Of the convolutions, by autocast, and of the attack.
        adversarial: Whether to train on clean and adversarial images, half by FGSM and half by PGD.
        compiled: Whether the network and the attack's steps are compiled.
    """
    dtype, pool = getattr(torch, dtype), max_of_slices if compiled else max_pool
    network = transplanted(model, dropout=config.dropout, pool=pool)
    forward = torch.compile(network) if compiled else network
    climb = stepper(dtype, pool=pool, compiled=compiled)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, eps=1e-7, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9 ** (step / 1000))
    all_images = torch.from_numpy(split.images).permute(0, 3, 1, 2)
    all_labels = torch.from_numpy(split.labels)

    def endless():
        while True:
            for indices in torch.randperm(len(split)).split(config.batch_size):
                if len(indices) == config.batch_size:
                    yield (all_images[indices].to(DEVICE).float() / 255, all_labels[indices].to(DEVICE).float())

    batches = endless()

    def attacked(images, labels):
        weights, half = network.folded(dtype), len(images) // 2
        low, high, slow = ball(images, config.train_epsilon)
        fast = climb(weights, images[:half], labels[:half], low[:half], high[:half], config.train_epsilon)
        slow, late = slow[half:], (labels[half:], low[half:], high[half:])
        for _ in range(config.train_steps):
            slow = climb(weights, slow, *late, config.train_step_size)
        return torch.cat([fast, slow])

    def step():
        images, labels = next(batches)
        if adversarial:
            # Equal weights of clean and adversarial images: one mean over all.
            images, labels = torch.cat([images, attacked(images, labels)]), torch.cat([labels, labels])
        with torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32):
            logits = forward(images)
        functional.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()

    def train(steps):
        network.train()
        for _ in range(steps):
            step()
        next(network.parameters())[0, 0, 0, 0].item()  # Waits for a GPU.

    return train


def random_matrix(size, dtype):
    """A square matrix where the work is done."""
    return torch.randn(size, size, device=DEVICE, dtype=getattr(torch, dtype))
