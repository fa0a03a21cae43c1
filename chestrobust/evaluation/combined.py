"""Attacks that are scored together, in one row of results: what it says of them, and what it is made of."""


def record(name, attacks, largest):
    """What a row says of its attacks; it is of several where they differ in their starts, losses or labels."""
    said = {**attacks[-1].record(), "attack": name, "max_perturbation": largest}
    if attacks[-1].row.note:
        said["note"] = attacks[-1].row.note
    if each_label(attacks):
        said.pop("label")
    elif len(attacks) > 1:
        # Starts of one loss; the first of them may be at the image.
        starts = [attack for attack in attacks if attack.attack == attacks[-1].attack]
        said |= {"restarts": sum(attack.restarts for attack in starts), "random_start": starts[0].random_start}
    return said


def kept(found):
    """Logits of the images as a file holds them, if they were asked for."""
    return [outcome.kept for outcome in found if outcome.kept is not None]


def each_label(attacks):
    """Whether the attacks are one on each label, which are scored label by label."""
    return len({attack.label for attack in attacks}) > 1
