"""How every script starts and fails: TensorFlow loads without its log lines, expected errors are one line."""

import contextlib
import os
import sys
import tempfile

import devices
from config import ExpectedError


def run_script(main, *, after_interrupt="The same command with --resume continues."):
    """Call `main` and turn its outcome into an exit code: what it returns, 2 for an expected error, 130 for Ctrl-C."""
    try:
        return main() or 0
    except ExpectedError as error:
        print(f"{os.path.basename(sys.argv[0])}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted. {after_interrupt}", file=sys.stderr)
        return 130
    except Exception as error:
        if not devices.is_lost_worker(error):
            raise
        print(f"{os.path.basename(sys.argv[0])}: error: Lost another worker. {after_interrupt}", file=sys.stderr)
        return 2


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
