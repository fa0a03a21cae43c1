"""How each finding of `phantom` shows: what it adds to the layers of those who have it.

A sign is a function `sign(scene, severity, side, draws)` of the patients' `Scene`, how ill they are, in [0.5, 1], the
half of the image, -1 (left) or 1, both `(n, 1, 1)`, and the finding's `Draws`. It returns what is added to the
brightness, `(n, size, size)`.
"""

import numpy as np

from chestrobust.data.sources.phantom_anatomy import texture


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
