"""torchrun, but ending as what it ran did: ``python3 torchrun.py [options of torchrun] -m fourcast train …``

torchrun itself ends with 1 whatever its processes said, and whoever decides about a restart must tell a mistake of the
user (2) from a training that saved because it was asked to stop (75). A process that a signal ended counts as 128 plus
its number, as in a shell. Where torchrun is itself asked to stop, and passes that on, the status is 75: run it again.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

STOPPED = 75


def status(arguments: list[str]) -> int:
    """Run torchrun with ``arguments``; the exit status of its first process that failed, or 0."""
    try:
        main(arguments)
    except ChildFailedError as error:
        print(error, file=sys.stderr)
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 128 - code
    except SignalException as signal:
        print(signal, file=sys.stderr)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(status(sys.argv[1:]))
