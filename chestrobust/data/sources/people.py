"""Ages and sexes as tables of different origin write them."""

import re

import numpy as np

DAYS = {"": 365.25, "Y": 365.25, "M": 365.25 / 12, "D": 1}
OLDEST = 120  # The first release of ChestX-ray14 has ages up to 414, which are slips.
SEX = {"FEMALE": "F", "MALE": "M"}


def age(text):
    """Years from `58`, `58.0`, `058Y`, `011M` or `013D`; NaN if unknown."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([YMD]?)", text.upper())
    years = float(match[1]) * DAYS[match[2]] / 365.25 if match else np.nan
    return years if years <= OLDEST else np.nan


def ages(texts, say):
    """Ages in years, float32, NaN if unknown; `say` is told of those that are written but can't be read."""
    found = np.array([age(text) for text in texts], np.float32)
    unread = [text for text, years in zip(texts, found, strict=True) if text and np.isnan(years)]
    if unread:
        say(f"{len(unread)} of {len(texts)} ages are none of 0 to {OLDEST} years. The first: {unread[0]:.40}. Unknown.")
    return found


def sex(text):
    """`F` or `M` from `F`, `m`, `Female` or `male`; other text in capitals."""
    return SEX.get(text.upper(), text.upper())
