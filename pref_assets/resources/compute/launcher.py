"""Several processes for one training job, on one machine."""

from collections.abc import Sequence

from pref_assets.training.job import Job
from pref_assets.training.worker import DISTRIBUTED


def launched(command: Sequence[str], job: Job, processes: int, *, always: bool = False) -> list[str]:
    """The command under ``accelerate launch`` when the job's task can use several processes, else the command.

    Of accelerate's launchers the one named ``--multi_gpu`` starts processes without MPI, and does so without a GPU as
    well; the worker picks gloo there.

    Args:
        command: what each process runs.
        job: what it is for.
        processes: how many.
        always: whether a single process goes through the launcher too.
    """
    if job.task not in DISTRIBUTED or (processes == 1 and not always):
        return list(command)
    several = ["--multi_gpu"] if processes > 1 else []
    # Everything is said, so that a user's default configuration of accelerate changes nothing.
    sizes = ["--num_processes", str(processes), "--num_machines", "1", "--main_process_port", "0"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no", "--no_python"]
    return ["python", "-m", "accelerate.commands.launch", *several, *sizes, *plain, *command]
