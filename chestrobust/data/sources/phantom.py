"""Made-up frontal chest radiographs in ChestMNIST's format, drawn from formulas and a seed.

Phantoms, not patients: they let every script run without a download and say nothing about any
diagnosis. Coordinates are the patient's: x runs from -1 (image left, the patient's right) to 1,
y from -1 (top) to 1 (bottom), whatever the size in pixels. Brightness is in [0, 1], bone white.
"""

import hashlib
import json
from types import SimpleNamespace

import numpy as np

from chestrobust.config import SIZE
from chestrobust.data.splits import CHEST_LABELS as FINDINGS
from chestrobust.data.splits import Split, Splits, selection

COUNTS = {"train": 4200, "val": 600, "test": 1200}
VERSION = 1  # of the pictures: part of the data's identity, to be raised with every change that alters one
# Positives among ChestMNIST's 22,433 test images, softened, so that a few hundred images hold several of every finding.
POSITIVES = np.array([2420, 582, 2754, 3938, 1133, 1335, 242, 1089, 957, 413, 509, 362, 734, 42])
FREQUENCIES = 0.3 * np.sqrt(POSITIVES / 22_433)
SICK = 0.6  # only these patients have findings, so that about half of the images have none
COMPANIONS = (("edema", "effusion"), ("edema", "cardiomegaly"), ("pneumonia", "infiltration"))
COMPANION_FREQUENCY = 0.3  # how often the first of a pair brings the second along

LABEL_STREAM, IMAGE_STREAM = 1, 2  # keep the random numbers of labels and images apart
CHUNK_PIXELS = 2**18  # drawn at once: about 1 MB per layer, some 50 MB in all
WAVES = 12  # waves that make up a texture
BLOCKS, DRAWS = 2 + len(FINDINGS), 64  # random numbers for the anatomy, the texture and each finding


def load(*, size=SIZE, limit=None, seed=0, counts=COUNTS, progress=None):
    """The phantom as a data set; only the images that `limit` keeps are drawn.

    Args:
        size: Height and width in pixels.
        limit: Largest number of images per split.
        seed: Which set of patients; it is no option of the scripts, so that all their runs share their images.
        counts: Images of each split.
        progress: See `render`.

    Returns:
        The `Splits`.
    """
    identity = json.dumps({"phantom": VERSION, "size": size, "seed": seed, "counts": counts}, sort_keys=True)
    findings = labels(sum(counts.values()), seed=seed)
    parts, first = {}, 0
    for part, count in counts.items():
        indices = np.arange(first, first + count)[selection(count, limit)]
        first += count
        images = render(indices, findings[indices], size=size, seed=seed, progress=progress)
        parts[part] = Split(images, findings[indices])
    sha256 = hashlib.sha256(identity.encode()).hexdigest()
    return Splits("phantom", "multi-label", FINDINGS, **parts, sha256=sha256, synthetic=True)


def labels(count, *, seed=0):
    """Draw the findings of made-up patients.

    Args:
        count: Number of patients; the labels of patient i do not depend on it.
        seed: Non-negative integer.

    Returns:
        Labels in {0, 1}, uint8, `(count, 14)`, in ChestMNIST's order (`FINDINGS`).
    """
    columns = 1 + len(FINDINGS) + len(COMPANIONS)
    uniform = np.random.default_rng((LABEL_STREAM, seed)).random((count, columns))
    sick, own, company = np.split(uniform, [1, 1 + len(FINDINGS)], axis=1)
    present = (sick < SICK) & (own < FREQUENCIES / SICK)
    for (first, second), chance in zip(COMPANIONS, company.T, strict=True):
        present[:, FINDINGS.index(second)] |= present[:, FINDINGS.index(first)] & (chance < COMPANION_FREQUENCY)
    return present.astype(np.uint8)


def render(indices, labels, *, size, seed=0, progress=None):
    """Draw made-up frontal chest radiographs with the findings that the labels name.

    An image depends on its index, its labels, the size and the seed alone. The same index at
    another size, or with other labels, is the same patient.

    Args:
        indices: Patients to draw, non-negative integers, `(n,)`.
        labels: Their labels in {0, 1}, `(n, 14)`.
        size: Height and width in pixels.
        seed: Non-negative integer.
        progress: Callable that wraps the iterable of chunks, such as `tqdm`.

    Returns:
        Images in [0, 255], uint8, `(n, size, size, 1)`.

    Raises:
        ValueError: If `labels` does not have one row per index and one column per finding.
    """
    indices, labels = np.asarray(indices), np.asarray(labels)
    if labels.shape != (len(indices), len(FINDINGS)):
        raise ValueError(
            f"`labels` must have shape {(len(indices), len(FINDINGS))}. Received: labels.shape={labels.shape}"
        )
    images = np.empty((len(indices), size, size, 1), np.uint8)
    length = max(1, CHUNK_PIXELS // size**2)
    chunks = [slice(start, start + length) for start in range(0, len(indices), length)]
    for chunk in progress(chunks) if progress else chunks:
        generators = [np.random.default_rng((IMAGE_STREAM, seed, int(index))) for index in indices[chunk]]
        uniform = np.stack([g.random((BLOCKS, DRAWS), dtype=np.float32) for g in generators])
        grain = np.stack([g.standard_normal((size, size), dtype=np.float32) for g in generators])
        images[chunk, ..., 0] = radiograph(uniform, labels[chunk], grain)
    return images


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


def radiograph(uniform, labels, grain):
    """Images in [0, 255], uint8, `(n, size, size)`, from random numbers, labels and pixel noise."""
    anatomy, waves, *rest = (Draws(uniform[:, block]) for block in range(BLOCKS))
    draws = dict(zip(FINDINGS, rest, strict=True))
    present = dict(zip(FINDINGS, labels.T.astype(np.float32)[..., None, None], strict=True))
    severity = {name: draws[name](0.5, 1) * present[name] for name in FINDINGS}
    side = {name: draws[name].side() for name in FINDINGS}

    scene = pose(anatomy, size=grain.shape[-1])
    scene.texture = texture(waves, 2, 6, size=grain.shape[-1])
    lungs(scene, anatomy, severity, side["atelectasis"])
    heart(scene, anatomy, severity)
    scene.markings = markings(scene, anatomy, severity)
    image = trunk(scene, anatomy) + skeleton(scene, anatomy) - scene.air + scene.markings
    for name, sign in SIGNS.items():
        rows = np.flatnonzero(present[name])
        if len(rows):
            image[rows] += sign(scene.take(rows), severity[name][rows], side[name][rows], draws[name].take(rows))
    return expose(scene, image, anatomy, grain)


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


def opaque(scene):
    """The change that fills the lungs: their air and, drowned in it, the markings."""
    return scene.air - 0.8 * scene.markings


def atelectasis(scene, severity, side, draws):
    """Plate-like bands above the raised half of the diaphragm."""
    bands = 0
    for gap in (draws(0.06, 0.12), draws(0.15, 0.25)):
        height = scene.above - gap + draws(-0.5, 0.5) * (scene.lateral - 0.35)
        extent = scene.edge(draws(0.12, 0.22) - np.abs(scene.lateral - 0.36), 0.1)
        bands += extent * scene.line(height, draws(0.025, 0.045))
    return (0.2 + 0.2 * severity) * bands * scene.lung * scene.on(side)


def effusion(scene, severity, side, draws):
    """Fluid in the costophrenic angle, climbing the chest wall as a meniscus."""
    climb = np.square(np.maximum(scene.lateral - 0.15, 0) / (scene.width - 0.15))
    fluid = scene.edge((0.1 + 0.6 * severity) * (0.3 + climb) - scene.above - 0.02, 0.05) * scene.on(side)
    return 0.95 * fluid * opaque(scene)


def infiltration(scene, severity, side, draws):
    """Patchy faint haze in one lung, at times in both."""
    both = draws() < 0.4
    zone = scene.ellipse(0.33 * np.sign(scene.x), draws(-0.35, 0.2), 0.24, draws(0.22, 0.4), 0.25)
    patches = np.clip(0.55 + 0.6 * scene.texture, 0, 1.2) * np.maximum(scene.on(side), both)
    return (0.3 + 0.45 * severity) * zone * patches * opaque(scene)


def spot(scene, radius, side, draws):
    """A round opacity somewhere in one lung."""
    x, y = side * draws(0.27, 0.46), draws(-0.5, 0.15)
    seen = scene.edge(scene.inside, 0.05) * (1 - 0.7 * scene.mediastinum)
    return scene.ellipse(x, y, radius * draws(0.9, 1.15), radius, 0.4 * radius) * seen


def mass(scene, severity, side, draws):
    """A large round opacity."""
    return (0.22 + 0.18 * severity) * spot(scene, 0.11 + 0.1 * severity, side, draws)


def nodule(scene, severity, side, draws):
    """A small round opacity: one to three pixels across at 28 x 28."""
    return (0.3 + 0.2 * severity) * spot(scene, 0.05 + 0.03 * severity, side, draws)


def pneumonia(scene, severity, side, draws):
    """A fluffy opacity in the middle or lower part of one lung."""
    across, down = scene.x - side * draws(0.27, 0.42), scene.y - draws(-0.05, 0.2)
    radius = np.sqrt(np.square(across / 0.27) + np.square(down / 0.29))
    cloud = scene.edge(0.85 + 0.35 * severity - radius + 0.35 * scene.texture, 0.7)
    return (0.6 + 0.35 * severity) * cloud * opaque(scene)


def pneumothorax(scene, severity, side, draws):
    """A dark rim without markings, widest at the apex, around a denser, collapsed lung."""
    rim = scene.inside - (0.05 + 0.25 * severity) * (0.3 + scene.height)
    line, empty = scene.line(rim, 0.014), scene.edge(-rim, 0.02)
    collapse = 0.1 * line + 0.25 * severity * scene.air * (1 - empty)
    return scene.lung * scene.on(side) * (collapse - empty * (scene.markings + 0.13 + 0.12 * severity))


def consolidation(scene, severity, side, draws):
    """A dense, even region that ends sharply at a fissure above or below."""
    upward = draws.side()
    beyond = upward * (draws(-0.15, 0.05) + draws(-0.3, 0.3) * (scene.lateral - 0.35) - scene.y)
    region = scene.edge(beyond, 0.01) * scene.edge(0.18 + 0.3 * severity - beyond, 0.15)
    region *= scene.on(side) * scene.edge(scene.lateral - draws(0.1, 0.25), 0.1)
    return (0.75 + 0.2 * severity) * region * opaque(scene)


def edema(scene, severity, side, draws):
    """Haze around both hila in the shape of a bat's wings, and heavier vessels."""
    wings = scene.ellipse(0.26 * np.sign(scene.x), draws(-0.1, 0.05), 0.24, draws(0.3, 0.4), 0.35)
    haze = (0.1 + 0.45 * severity) * wings * (1 + 0.3 * scene.texture)
    return haze * scene.air + 0.7 * severity * scene.markings


def fibrosis(scene, severity, side, draws):
    """A net of fine lines in the outer and lower parts of both lungs."""
    net = np.maximum(1 - 2.5 * np.abs(texture(draws, 7, 13, size=scene.x.shape[-1])), 0)
    zone = np.clip(0.5 + scene.y, 0, 1) * np.clip(1.3 - 3 * np.minimum(scene.inside, scene.above), 0, 1)
    return zone * ((0.08 + 0.1 * severity) * net * scene.lung + 0.3 * severity * scene.air)


def pleural(scene, severity, side, draws):
    """A thick bright band along the chest wall, or a cap over the apex."""
    thickness, cap = 0.12 + 0.08 * severity, draws() < 0.3
    centre, reach = np.where(cap, scene.apex, draws(-0.3, 0.2)), np.where(cap, 0.22, draws(0.2, 0.4))
    band = scene.edge(thickness - scene.inside, 0.03) * scene.edge(reach - np.abs(scene.y - centre), 0.08)
    return (0.25 + 0.2 * severity) * band * scene.lung * scene.on(side)


def hernia(scene, severity, side, draws):
    """A ring behind the heart above the diaphragm, with air over a fluid level."""
    x, y, radius = side * draws(0, 0.1), scene.dome - draws(0.1, 0.16), 0.13 + 0.09 * severity
    sac = scene.ellipse(x, y, radius, 0.9 * radius, 0.06)
    air = scene.ellipse(x, y, 0.8 * radius, 0.7 * radius, 0.03) * scene.edge(y + 0.2 * radius - scene.y, 0.01)
    return (0.1 + 0.12 * severity) * sac - (0.35 + 0.2 * severity) * air


# Cardiomegaly and emphysema change the anatomy itself.
SIGNS = {
    sign.__name__: sign
    for sign in (
        *(atelectasis, effusion, infiltration, mass, nodule, pneumonia),
        *(pneumothorax, consolidation, edema, fibrosis, pleural, hernia),
    )
}


def expose(scene, image, draws, grain):
    """Take the picture: vignetting, tone curve, contrast and noise, as uint8."""
    image *= 1 - draws(0, 0.12) * (np.square(scene.x) + np.square(scene.y))
    image = np.clip(image, 0, 1)
    # The shape of a gamma curve without its slow power.
    bend = draws(-0.25, 0.5)
    image = image * (1 + bend) / (1 + bend * image)
    image = draws(0, 0.06) + image * draws(0.82, 1.08)
    # Coarser pixels average the noise of finer ones; bright is where few photons arrive.
    noise = draws(0.004, 0.012) * np.sqrt(scene.x.shape[-1] / 224)
    blurred = 0.6 * grain + 0.3 * (np.roll(grain, 1, axis=1) + np.roll(grain, 1, axis=2))
    image += noise * blurred * np.sqrt(0.3 + np.maximum(image, 0))
    return np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
