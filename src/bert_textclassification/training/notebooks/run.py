"""Execute a notebook with parameters, in a kernel of this very interpreter, and keep what it shows.

The executed copy has of each progress bar what a terminal shows at the end of it: one line.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from bert_textclassification.errors import UserError
from bert_textclassification.training.display.progress import INTERVAL, seconds_between

_ENGINE = "own kernel"
_TO_STOP_S = 30.0  # for an interrupted cell, and for a kernel that is asked to end
_TIMES_TO_ASK = 15


class _Kernel(AsyncKernelManager):
    """Ends an idle kernel without the interruption that jupyter_client sends first: the kernel may log it."""

    # mypy looks at the base of the asynchronous manager, whose method is no coroutine.
    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """Ask the kernel to end, and kill it if it does not within `shutdown_wait_time`; with `now`, kill it."""
        if now:
            await super().shutdown_kernel(now, restart)
            return
        self.shutting_down = True
        self.stop_restarter()
        await self.request_shutdown(restart)
        await self.finish_shutdown(restart=restart)
        await self.cleanup_resources(restart)


class _OwnKernel(Engine):
    """papermill's engine with a kernel that the caller can interrupt."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, kernel: AsyncKernelManager, **_: Any
    ) -> None:
        """Execute the cells and end the kernel."""
        PapermillNotebookClient(
            nb_man, km=kernel, kernel_name=kernel_name, stderr_file=sys.stderr, coalesce_streams=True
        ).execute(cleanup_kc=True, env=_environment())


papermill_engines.register(_ENGINE, _OwnKernel)


def execute(source: Path, copy: Path, parameters: dict[str, Any]) -> None:
    """Execute the notebook `source` in its own folder and write the executed copy, cell by cell, to `copy`.

    Raises:
        UserError: a cell failed, or the kernel died.
        KeyboardInterrupt: the kernel was interrupted, too, and has ended.
    """
    # Without folders to look in, python3 is the kernel of this interpreter, whatever Jupyter knows by that name.
    kernel = _Kernel(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport_encryption="auto",
        shutdown_wait_time=_TO_STOP_S,
    )
    with ThreadPoolExecutor(1) as thread:  # in the main one nbclient would take SIGINT for itself
        running = thread.submit(_run, source, copy, parameters, kernel)
        try:
            running.result()
        except PapermillExecutionError as problem:
            raise UserError(f"{source.stem} stopped at {problem.ename}: {problem.evalue}") from problem
        except DeadKernelError as problem:
            raise UserError(
                f"The kernel of {source.stem} died, most likely for want of memory: a smaller batch_size or max_length "
                "needs less."
            ) from problem
        except KeyboardInterrupt:
            _interrupt(kernel, running)
            raise


def _environment() -> dict[str, str]:
    return {INTERVAL: str(seconds_between())} | os.environ  # the kernel sees no terminal


def _interrupt(kernel: AsyncKernelManager, running: "Future[None]") -> None:
    """End the cell with an error, and with it the notebook; a kernel that still starts hears nothing, so ask again."""
    for _ in range(_TIMES_TO_ASK):
        if kernel.has_kernel:
            _now(kernel.interrupt_kernel())
        if wait([running], _TO_STOP_S / _TIMES_TO_ASK).done:
            return
    _now(kernel.shutdown_kernel(now=True))


def _run(source: Path, copy: Path, parameters: dict[str, Any], kernel: AsyncKernelManager) -> None:
    try:
        papermill.execute_notebook(
            source, copy, parameters, engine_name=_ENGINE, cwd=source.parent, progress_bar=False, kernel=kernel
        )
    finally:
        ensure_event_loop().close()  # of this thread


def _now(work: Awaitable[Any]) -> None:
    async def done() -> None:
        await work

    asyncio.run(done())
