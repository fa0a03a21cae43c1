"""Attacks on any model that returns logits."""

from chestrobust.attacks.autopgd import apgd
from chestrobust.attacks.blackbox import noise, one_pixel, square
from chestrobust.attacks.defences import expectation, straight_through
from chestrobust.attacks.gradient import fgsm, ni_fgsm, pgd

__all__ = ["apgd", "expectation", "fgsm", "ni_fgsm", "noise", "one_pixel", "pgd", "square", "straight_through"]
