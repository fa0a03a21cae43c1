"""Checks of the rows that are published: whether scores of several attacks and radii contradict each other."""

from collections import defaultdict

from chestrobust import catalogue
from chestrobust.attacks import storage
from chestrobust.errors import setting
from chestrobust.evaluation.lines import judged, not_run

# What scores each label on images of its own is no single attack: a joint score may be above it.
EACH_LABEL = ("label-margin", "floor", "certified")
LEAST = 32  # images that an AUC must be of to tell anything
SLACK = 0.03  # of macro AUC: what chance and rounding may explain on some hundred images


def _joint(rows):
    text = "how far the joint score lies above a row of its own radius; expected 0, as the worst of them is joint"
    return _lowest("joint is the worst", rows, "joint", text, "a joint score")


def _floor(rows):
    text = "how far the worst per label lies above a row of its own radius; expected 0, as each label picks its worst"
    return _lowest("floor is below", rows, "floor", text, "a floor")


def _lowest(name, rows, attack, text, needs):
    over = [
        lowest - row["macro_auc"]
        for lowest, others in _beside(rows, attack)
        for row in others
        if row["attack"] not in EACH_LABEL
    ]
    return _worst(name, over, 1e-6, text, f"{needs} ({setting('suite', 'standard')}) of {LEAST} images")


def _weaker(rows):
    """Of whole rows, as they are published; the audit's sample may miss what they show."""
    over = []
    for group in _by_radius(rows).values():
        strong = [row["macro_auc"] for row in group if _searches(row)]
        weak = [row["macro_auc"] for row in group if not _searches(row) and _attacks(row)]
        # Images as stored are in the ball too: a model may answer otherwise between grey levels.
        weak += [row["stored"]["macro_auc"] for row in group if _attacks(row) and _stores(row)]
        over += [min(strong) - auc for auc in weak if strong]
    text = (
        "how far a row without many gradient steps, or images as stored, lie below PGD and APGD; expected under "
        f"{SLACK}, else gradients are masked"
    )
    return _worst("PGD is the strongest", over, SLACK, text, f"rows of PGD and of other attacks, of {LEAST} images")


def _monotone(rows):
    worst = [min(row["macro_auc"] for row in group) for _, group in sorted(_by_radius(rows, EACH_LABEL).items())]
    over = [later - min(worst[:number]) for number, later in enumerate(worst) if number]
    text = f"rise of the worst row from a radius to a larger one, which allows all that the smaller does; under {SLACK}"
    return _worst(
        "rows fall with epsilon", over, SLACK, f"{text} expected", f"rows of several radii, of {LEAST} images"
    )


def _inside(rows):
    over = []
    for row in rows or ():
        if row.get("max_perturbation") is not None and catalogue.in_a_ball(row["attack"]):
            over.append(row["max_perturbation"] - row["epsilon"])
    text = "by how much a row's largest change of a pixel exceeds its radius; expected 0"
    return _worst("rows stay in the ball", over, 1e-6, text, "rows that tell their largest change")


def _certified(rows):
    """A bound that anything reaches beyond is none: of one image already, in its logits and in what is counted of them.

    Whatever is inside a smaller ball is inside the larger one.
    """
    over = []
    for bound in (row for row in rows or () if row["attack"] == "certified"):
        over.append(bound["excess"])
        pairs = []
        for row in rows:
            if row["epsilon"] <= bound["epsilon"] and catalogue.in_a_ball(row["attack"]):
                pairs.append((bound["macro_auc"], row["macro_auc"]))
                labels = row.get("per_label_auc", {})
                pairs += [(bound["per_label_auc"][name], value) for name, value in labels.items()]
        over += [ours - theirs for ours, theirs in pairs if None not in (ours, theirs)]
    text = "how far a certified score lies above a row inside its ball, or a logit outside of its bounds; expected 0"
    return _worst("certified is a lower bound", over, 0.0, text, setting("certify", True))


def _stored(rows):
    over = []
    for row in rows or ():
        levels = row.get("stored", {}).get("levels")
        if levels is not None:
            over.append(levels - storage.whole_levels(row["epsilon"]))
    text = "by how many grey levels a pixel of images as stored leaves its ball; expected 0"
    return _worst("stored images stay in the ball", over, 0, text, "rows of images as a file holds them")


def _worst(name, over, limit, text, needs):
    return judged(name, max(over) <= limit, max(0.0, *over, 0.0), text) if over else not_run(name, f"needs {needs}")


def _beside(rows, name):
    """The score of each row of that name, and the rows of its radius."""
    return [(row["macro_auc"], group) for group in _by_radius(rows).values() for row in group if row["attack"] == name]


def _by_radius(rows, without=()):
    """Rows that have a radius and a macro AUC of enough images, by their radius."""
    groups = defaultdict(list)
    for row in rows or ():
        enough = row["macro_auc"] is not None and row["images"] >= LEAST
        if enough and row["epsilon"] > 0 and row["attack"] not in without and catalogue.in_a_ball(row["attack"]):
            groups[row["epsilon"]].append(row)
    return groups


def _searches(row):
    """Whether it climbs the model's own gradient in many steps."""
    named = catalogue.attack(row["attack"])
    return (
        _attacks(row) and named is not None and named.gradient and "restarts" in named.parameters and not named.source
    )


def _stores(row):
    """Whether it tells the score of its images as a file holds them."""
    return row.get("stored", {}).get("macro_auc") is not None


def _attacks(row):
    """Whether it is an attack on all labels at once, and not the sum of others."""
    return row["attack"] not in ("joint", *EACH_LABEL)


# In the order of `docs/audit.md`: functions that return a `Line` of rows as `results.json` holds them, or of None. Rows
# have `attack`, `epsilon`, `images`, `macro_auc` and, where known, `max_perturbation`; certified ones with `excess` say
# how far a logit under an attack lies out of its bounds.
CHECKS = (_joint, _floor, _weaker, _monotone, _inside, _certified, _stored)
