"""How every script starts and fails: TensorFlow loads without its log lines, expected errors are one line."""

import contextlib
import os
import sys
import tempfile
import traceback

import devices
import interruption
from config import ExpectedError

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


def _expected(error, after_interrupt):
    """What to tell a user who can put an error right; None if it is an error of ours."""
    if isinstance(error, ExpectedError):
        return str(error)
    if devices.is_lost_worker(error):
        return f"Lost another worker. {after_interrupt}"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return f"Expected more memory. Received: {type(error).__name__}. Free some, or use a smaller --size or --limit."
    return None


def import_tensorflow():
    """Import TensorFlow without its start-up lines.

    Its C++ side writes some of them before any log level holds, so standard error is held back meanwhile, and shown
    only if the import fails.
    """
    if "tensorflow" in sys.modules:
        return  # Whoever imported it has set it up.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as stack:
        sys.stderr.flush()
        terminal = os.dup(2)
        stack.callback(os.close, terminal)
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow

            # Looking for GPUs logs too, whether or not there are any.
            if not tensorflow.config.list_physical_devices("GPU"):
                # One operation at a time: each already uses all cores, and side by side they only need more memory.
                tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        except BaseException:
            os.dup2(terminal, 2)
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(terminal, 2)
