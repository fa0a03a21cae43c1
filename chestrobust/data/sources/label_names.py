"""What the labels of an npz file of one's own are called: by `--labels`, or by an array in the file.

np.savez("mine.npz", label_names=["nodule", "mass"], train_images=...)
"""

from chestrobust.data.sources.npz import Member, holds
from chestrobust.errors import DataError

KEY = "label_names"
MAX_NAMES, MAX_LETTERS = 1000, 100


def of(path, given, data_dir):
    """The names, or None if nothing tells them.

    Args:
        path: The npz file.
        given: Names, or a text with commas between them, which win over the file's; or None.
        data_dir: As in `Member.read`.

    Raises:
        DataError: If they are no names.
    """
    if given:
        return _checked("--labels", given.split(",") if isinstance(given, str) else given)
    if not holds(path, KEY):
        return None
    member = Member(path, KEY, kinds="US")
    if len(member.shape) != 1 or not 0 < member.shape[0] <= MAX_NAMES or member.dtype.itemsize > 4 * MAX_LETTERS:
        raise DataError(
            f"{path}: {KEY}: expected 1 to {MAX_NAMES} names of at most {MAX_LETTERS} letters. "
            f"Received: {member.dtype} {member.shape}."
        )
    array = member.read(data_dir)
    try:
        names = [name.decode() if isinstance(name, bytes) else name for name in array.tolist()]
    except (ValueError, SystemError) as error:  # NumPy's for code points that there are not
        raise DataError(f"{path}: {KEY}: expected names in Unicode. Received: {error}.") from None
    return _checked(f"{path}: {KEY}", names)


def _checked(where, names):
    names = tuple(name.strip() for name in names)
    wrong = [name for name in names if not name or not name.isprintable() or len(name) > MAX_LETTERS]
    if not names or wrong or len(set(names)) < len(names):
        reason = f"{wrong[0]!r:.120} among them" if wrong else f"{', '.join(names):.300}"
        raise DataError(f"{where}: expected a different, printable name for each label. Received: {reason}.")
    return names
