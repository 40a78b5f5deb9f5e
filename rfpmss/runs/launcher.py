"""torchrun as a supervised child: what ends it is said by its ranks, not by its own traceback."""

from __future__ import annotations

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun


def main() -> int:
    """Run torchrun; return 0, 1 after a rank that failed, or 128 + a signal that ended it."""
    logging.disable(logging.ERROR)  # "Received 15 death signal", "failed (exitcode: 1)"
    try:
        torchrun()
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        print(f"rank {rank} ended {how}; the other ranks were ended", file=sys.stderr)
        return 1

    return 0


if __name__ == "__main__":
    sys.exit(main())
