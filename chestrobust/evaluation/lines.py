"""A line of an audit: what was checked, how it came out, and what a finding says."""

from dataclasses import asdict, dataclass

import numpy as np

from chestrobust.reporting import tables

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
# What a finding says: the score can't be used; the model has nothing to lose, so its score says nothing; good to know.
INVALID, WEAK_MODEL, NOTE = "invalid", "weak model", "note"


@dataclass(frozen=True)
class Line:
    """One check of an audit.

    Attributes:
        name: What was checked.
        status: `PASSED`, `FAILED` or `NOT_RUN`.
        value: The number that decided, or None.
        text: What the number is, what was expected, and what a finding means.
        severity: `INVALID` or `WEAK_MODEL` if it failed; `NOTE` if it passed with something good to know; else None.
    """

    name: str
    status: str
    value: float | None
    text: str
    severity: str | None = None

    def __str__(self):
        return tables.audit_line(asdict(self))


def judged(name, passed, value, text, *, severity=INVALID, may_be_undefined=False):
    """The `Line` of a check that ran.

    Args:
        passed: Whether the value is as expected.
        value: A number, or None.
        text: As in `Line`.
        severity: What it says if not; a `NOTE` doesn't fail.
        may_be_undefined: Whether NaN only means that these images can't tell, as of an AUC; else it is a failure.
    """
    if value is not None and not np.isfinite(value):
        if may_be_undefined:
            return not_run(name, f"undefined on these images; {text}")
        passed, value = False, None
    value = None if value is None else float(value)
    if passed:
        return Line(name, PASSED, value, text)
    status = PASSED if severity == NOTE else FAILED
    return Line(name, status, value, f"{text}. See docs/audit.md#{anchor(name)}", severity)


def not_run(name, reason):
    """The `Line` of a check that didn't run."""
    return Line(name, NOT_RUN, None, reason)


def anchor(name):
    """Where `docs/audit.md` speaks of a check."""
    return name.lower().replace(" ", "-")
