"""A worker whose tasks misbehave: the program that the tests of the compute resource start as the child."""

import os
import sys
import time
from typing import Any

from pref_assets.training import worker
from pref_assets.training.job import Job, Reporter


def task(job: Job, report: Reporter) -> dict[str, Any]:
    """Does what ``params["do"]`` says."""
    do = job.params["do"]
    if do == "modules":
        import torch  # noqa: F401

        report.log("counting modules")
        return {"torch": "torch" in sys.modules, "dagster": "dagster" in sys.modules, "pid": os.getpid()}
    if do == "sleep":
        # One write, so that the parent's own log cannot come in between.
        os.write(2, f"sleeping {os.getpid()}\n".encode())
        time.sleep(60)
    if do == "die":
        print("last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 9)
    if do == "exit":
        os._exit(3)
    if do == "too big":
        raise MemoryError("could not allocate 99 GiB")
    raise ValueError("row 7 has no prompt")


if __name__ == "__main__":
    worker.TASKS["embed"] = f"{__name__}:task"
    sys.exit(worker.main())
