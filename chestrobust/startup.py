"""How every script ends: what went wrong in one line, if it is something that the user can put right."""

import os
import runpy
import sys
import traceback

from chestrobust import devices, interruption
from chestrobust.errors import ExpectedError

REPORT = "This is an error of the program. Please report it, with the lines above, to the project's issue tracker."


def run_script(main, *, after_interrupt="The same command with --resume continues."):
    """Call `main` and turn its outcome into an exit code, with what went wrong on standard error.

    Returns:
        What `main` returns, or 0; 2 for an expected error; 130 for Ctrl-C; 143 for SIGTERM; 1 for any other exception.
    """
    try:
        with interruption.sigterm_raises():
            return main() or 0
    except interruption.Terminated:
        print(f"\nTerminated. {after_interrupt}", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print(f"\nInterrupted. {after_interrupt}", file=sys.stderr)
        return 130
    except Exception as error:
        expected = _expected(error, after_interrupt)
        if expected is None or "--debug" in sys.argv:  # The arguments themselves may be what is wrong.
            traceback.print_exc()
        if expected is None:
            print(REPORT, file=sys.stderr)
            return 1
        print(f"{os.path.basename(sys.argv[0])}: error: {' '.join(expected.split())}", file=sys.stderr)
        return 2


def run_file(path):
    """Run a Python file of the user's, which registers the classes of a model by Keras's own means; None runs nothing.

    Raises:
        ExpectedError: If there is no such file, or it fails.
    """
    if path is None:
        return
    try:
        runpy.run_path(os.path.expanduser(path), run_name="imported")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ExpectedError(f"--import {path}: expected a Python file that runs. Received: {reason:.300}") from None


def _expected(error, after_interrupt):
    """What to tell a user who can put an error right; None if it is an error of ours."""
    if isinstance(error, ExpectedError):
        return str(error)
    if devices.is_lost_worker(error):
        return f"Lost another worker. {after_interrupt}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return f"Expected more memory. Received: {type(error).__name__}. Free some, or use a smaller --size or --limit."
    return None
