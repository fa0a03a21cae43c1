"""The made-up patients of `phantom`: where they stand, and lungs, heart, bones and vessels drawn from formulas.

Every layer is float32, `(n, size, size)`, in the patient's coordinates. `severity` has a value in [0, 1] per finding.
"""

from types import SimpleNamespace

import numpy as np

WAVES = 12  # waves that make up a texture


class Draws:
    """Hands out random numbers, one column per call: the order of calls is part of the picture."""

    def __init__(self, uniform):
        self.uniform, self.used = uniform, 0

    def take(self, rows):
        """What is left, for some of the images only."""
        return Draws(self.uniform[rows, self.used :])

    def __call__(self, low=0.0, high=1.0):
        """One number in [low, high) per image, float32, `(n, 1, 1)`."""
        self.used += 1
        return low + (high - low) * self.uniform[:, self.used - 1, None, None]

    def side(self):
        """-1 (image left) or 1 per image, `(n, 1, 1)`."""
        return np.where(self() < 0.5, np.float32(-1), np.float32(1))


class Scene(SimpleNamespace):
    """Layers `(n, size, size)` and measures `(n, 1, 1)` of some patients, float32."""

    def take(self, rows):
        """The same scene with some of the patients only."""
        return Scene(**{name: value[rows] for name, value in vars(self).items()})

    def edge(self, distance, softness=0.0):
        """Soft step from 0 to 1 at distance 0, never sharper than the pixels can show."""
        step = np.clip(distance / np.maximum(softness, 1.5 * self.pixel) + 0.5, 0, 1)
        return step * step * (3 - 2 * step)

    def line(self, distance, thickness):
        """A line of the given half-thickness; one thinner than a pixel fades instead of vanishing."""
        shown = np.maximum(thickness, 0.7 * self.pixel)
        return np.maximum(1 - np.abs(distance) / shown, 0) * (thickness / shown)

    def ellipse(self, x, y, width, height, softness=0.0, slant=0.0):
        """A filled ellipse with the given half-axes; `slant` leans it to the image right going down."""
        down = self.y - y
        radius = np.sqrt(np.square((self.x - x - slant * down) / width) + np.square(down / height))
        return self.edge((1 - radius) * np.minimum(width, height), softness)

    def on(self, side):
        """1 in the half of the patient that `side` names (-1: image left), else 0."""
        return self.edge(self.x * side, 0.1)


def pixel_centres(size):
    """Coordinates of a row of pixels, from -1 to 1, float32, `(size,)`."""
    return ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)


def pose(draws, *, size):
    """Place the patient before the detector: shift, zoom and tilt."""
    axis, zoom, tilt = pixel_centres(size), draws(0.92, 1.2), draws(-0.06, 0.06)
    across, down = axis[None, None, :] - draws(-0.07, 0.07), axis[None, :, None] - draws(-0.08, 0.08)
    x, y = (across + tilt * down) / zoom, (down - tilt * across) / zoom
    return Scene(x=x, y=y, lateral=np.abs(x), pixel=2 / size / zoom)


def texture(draws, low, high, *, size):
    """Smooth random field of about -1 to 1: products of waves of `low` to `high` cycles per unit."""

    def waves():
        frequency, phase = (np.concatenate([draws() for _ in range(WAVES)], axis=2) for _ in range(2))
        frequency = low + (high - low) * frequency
        # A pixel averages over its width, which leaves little of waves shorter than itself.
        seen = np.sinc(frequency * (2 / size))
        return seen * np.sin(2 * np.pi * (pixel_centres(size)[:, None] * frequency + phase))

    down, across = waves(), waves()
    return (down @ across.transpose(0, 2, 1)).astype(np.float32) * np.float32(1.2 / WAVES**0.5)


def lungs(scene, draws, severity, collapsed):
    """Two air-filled lungs: a chest wall that closes over the apex, and a dome on either side."""
    scene.width = draws(0.54, 0.68) + 0.03 * severity["emphysema"]
    scene.apex = draws(-0.84, -0.72)
    scene.dome = draws(0.25, 0.47) + 0.17 * severity["emphysema"] - 0.07 * severity["fibrosis"]
    right_dome = scene.dome - draws(0.01, 0.07)
    volume_loss = 0.2 * severity["atelectasis"] * scene.on(collapsed)
    curvature = draws(0.9, 2.0) * (1 - 0.75 * severity["emphysema"])
    scene.height = np.clip((0.25 - scene.y) / (0.25 - scene.apex), 0, 1)  # 0 at the base, 1 at the apex
    wall = scene.width * np.sqrt(1 - np.square(scene.height) * (0.4 + 0.6 * scene.height))
    scene.inside = wall - scene.lateral
    floor = right_dome + (scene.dome - right_dome) * scene.on(1) - volume_loss
    scene.above = floor + curvature * np.square(scene.lateral - draws(0.24, 0.32)) - scene.y
    scene.lung = scene.edge(scene.inside, 0.03) * scene.edge(scene.above, 0.02)
    depth = 0.6 + 0.4 * np.clip(np.minimum(scene.inside, scene.above) / 0.25, 0, 1)
    scene.air = scene.lung * depth * (draws(0.32, 0.44) + 0.12 * severity["emphysema"])


def heart(scene, draws, severity):
    """Great vessels, aortic knob and heart: together the mediastinum, which covers the lungs."""
    half_width = draws(0.24, 0.29) + 0.18 * severity["cardiomegaly"] - 0.05 * severity["emphysema"]
    shift, tall, rotation = draws(0.05, 0.09) + 0.3 * (half_width - 0.26), draws(0.32, 0.4), draws(-0.03, 0.03)
    waist = draws(0.1, 0.14) + 0.16 * np.abs(scene.y + 0.3)
    vessels = scene.edge(waist - np.abs(scene.x - rotation), 0.09)
    knob = scene.ellipse(rotation + 0.08, draws(-0.34, -0.26), draws(0.07, 0.12), draws(0.1, 0.16), 0.06)
    muscle = scene.ellipse(rotation + shift, scene.dome - 0.15, half_width, tall, 0.07, slant=0.4)
    # Where they overlap, soft borders melt into one outline.
    scene.mediastinum = 0.94 * (1 - (1 - vessels) * (1 - knob) * (1 - muscle))
    scene.lung *= 1 - scene.mediastinum
    scene.air *= 1 - scene.mediastinum


def trunk(scene, draws):
    """Soft tissue without the lungs: neck, shoulders, flanks, abdomen, breasts, stomach bubble."""
    neck, slope, flank = draws(0.2, 0.3), draws(0.25, 0.6), draws(0.8, 1.2)
    shoulder = scene.y + draws(0.86, 1.05) - slope * np.square(np.maximum(scene.lateral - neck, 0))
    body = np.maximum(scene.edge(shoulder, 0.08), scene.edge(neck - scene.lateral, 0.1))
    side = flank + np.maximum(-0.1 - scene.y, 0)
    arm = scene.edge(scene.lateral - flank - draws(-0.1, 0.15) - 0.1 * scene.y, 0.15)
    body *= np.maximum(scene.edge(side - scene.lateral, 0.1), draws(0.5, 0.9) * arm)
    breast = scene.ellipse(0.36 * np.sign(scene.x), draws(0.1, 0.3), 0.3, draws(0.2, 0.35), 0.08)
    bubble = scene.ellipse(draws(0.22, 0.42), scene.dome + draws(0.08, 0.16), draws(0.06, 0.16), 0.06, 0.04)
    tissue = draws(0.53, 0.62) - 0.15 * np.maximum(scene.lateral - 0.55, 0) + 0.012 * scene.texture
    tissue += 0.15 * scene.mediastinum * scene.edge(scene.y + 0.5, 0.6) * scene.edge(scene.above + 0.1, 0.4)
    # Under the dome the abdomen brightens slowly: the sharp line above it is the lung's own.
    tissue += draws(0.14, 0.24) * scene.edge(0.1 - scene.above, 0.5) * scene.edge(flank - scene.lateral, 0.6)
    tissue += np.maximum(draws(-0.08, 0.08), 0) * breast - np.maximum(draws(-0.1, 0.16), 0) * bubble
    return 0.04 + body * np.minimum(tissue, 0.9)


def skeleton(scene, draws):
    """Spine, posterior and fainter anterior ribs, clavicles and scapulae; the trachea's air, too."""
    y, lateral = scene.y, scene.lateral

    def stripes(position, spacing, softness):
        # Triangle wave with soft flanks; where pixels are too coarse, flanks widen and contrast drops.
        wave = np.abs(2 * np.mod(position / spacing, 1) - 1) - 0.5
        return np.clip(wave / np.maximum(softness, 3.5 * scene.pixel / spacing), -0.5, 0.5)

    cage = scene.edge(scene.inside + 0.05, 0.03) * scene.edge(0.08 + scene.above, 0.3)
    cage *= scene.edge(lateral - 0.08, 0.05) * (1 - 0.6 * scene.mediastinum)
    spacing, start = draws(0.115, 0.145), draws()
    posterior = stripes(
        y + start * spacing - 0.2 * lateral - draws(0.5, 1.0) * lateral * np.square(lateral), spacing, 0.3
    )
    anterior = stripes(y + start * spacing + draws(0.25, 0.45) * lateral, 1.25 * spacing, 0.4)
    bones = cage * (draws(0.05, 0.1) * posterior + 0.035 * anterior * scene.edge(lateral - 0.25, 0.2))
    spine = scene.edge(0.075 - lateral, 0.03)
    bones += spine * scene.edge(0.2 + scene.above, 0.5) * (0.04 + 0.03 * stripes(y, 0.11, 0.3))
    along = lateral - draws(0.36, 0.42)
    clavicle = y - draws(-0.66, -0.54) + draws(0.0, 0.3) * along + 1.2 * along * np.square(along)
    bones += draws(0.05, 0.1) * scene.edge(0.035 - np.abs(clavicle), 0.03) * scene.edge(0.3 - np.abs(along), 0.15)
    blade = lateral - draws(0.6, 0.7) - 0.35 * np.square(y + 0.3)
    bones += 0.06 * scene.edge(blade, 0.02) * scene.edge(0.4 - np.abs(y + 0.3), 0.1) * scene.edge(0.25 - blade, 0.1)
    trachea = scene.edge(0.04 - np.abs(scene.x), 0.03) * scene.edge(-0.25 - y, 0.1)
    return bones - 0.07 * trachea


def markings(scene, draws, severity):
    """Hila, and vessels that leave them like spokes and fork on the way out."""
    away, down = np.maximum(scene.lateral - 0.12, 0), scene.y + draws(0.0, 0.1) + 0.04 * scene.on(1)
    radius = np.sqrt(np.square(away) + np.square(down))
    spokes = draws(4, 6)
    turn = down / (away + np.abs(down) + 0.02)  # grows with the angle, from -1 to 1
    turn = spokes * turn + draws() + draws() * (scene.x > 0) + 0.15 * scene.texture
    fork = np.abs(np.mod(turn, 1) - 0.5) - 0.3 * np.clip((radius - 0.15) / 0.3, 0, 1)
    vessels = scene.line(fork * (radius + 0.03) * 1.6 / spokes, 0.016 - 0.015 * np.minimum(radius, 0.8))
    hilum = np.maximum(1 - np.square(away / 0.14) - np.square(down / 0.17), 0)
    strength = draws(0.07, 0.14) * (1 - 0.5 * severity["emphysema"])
    vessels *= np.clip(1.1 - 1.6 * radius, 0.1, 0.8) * np.clip(0.6 + scene.texture, 0, 1)
    return strength * (vessels + hilum) * scene.lung
