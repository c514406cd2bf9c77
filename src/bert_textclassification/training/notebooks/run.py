"""Execute a notebook with parameters, in a kernel of this interpreter, and write the executed copy.

The copy shows each progress bar as one line, in its final state.
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
_TO_STOP_S = 30.0  # for an interrupted cell, and for a kernel to shut down
_INTERRUPTIONS = 15


class _Kernel(AsyncKernelManager):
    """Shuts an idle kernel down without the interrupt that jupyter_client sends first, which the kernel may log."""

    # mypy checks against the synchronous base class, whose method is not a coroutine.
    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """Request the shutdown and kill the kernel after `shutdown_wait_time`; with `now`, kill it at once."""
        if now:
            await super().shutdown_kernel(now, restart)
            return
        self.shutting_down = True
        self.stop_restarter()
        await self.request_shutdown(restart)
        await self.finish_shutdown(restart=restart)
        await self.cleanup_resources(restart)


class _OwnKernel(Engine):
    """A papermill engine whose kernel the caller can interrupt."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, kernel: AsyncKernelManager, **_: Any
    ) -> None:
        """Execute the cells and shut the kernel down."""
        PapermillNotebookClient(
            nb_man, km=kernel, kernel_name=kernel_name, stderr_file=sys.stderr, coalesce_streams=True
        ).execute(cleanup_kc=True, env=_environment())


papermill_engines.register(_ENGINE, _OwnKernel)


def execute(source: Path, copy: Path, parameters: dict[str, Any]) -> None:
    """Execute the notebook `source` in its own folder and write the executed copy, cell by cell, to `copy`.

    Raises:
        UserError: a cell failed, or the kernel died.
        KeyboardInterrupt: the run was interrupted; the kernel has been interrupted and shut down.
    """
    # Without kernel folders, "python3" is this interpreter and not another kernel that Jupyter has under that name.
    kernel = _Kernel(
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        transport_encryption="auto",
        shutdown_wait_time=_TO_STOP_S,
    )
    with ThreadPoolExecutor(1) as thread:  # in the main thread nbclient would handle SIGINT itself
        running = thread.submit(_run, source, copy, parameters, kernel)
        try:
            running.result()
        except PapermillExecutionError as problem:
            raise UserError(f"{source.stem} stopped at {problem.ename}: {problem.evalue}") from problem
        except DeadKernelError as problem:
            raise UserError(
                f"The kernel of {source.stem} died, most likely because it ran out of memory; reduce batch_size or "
                "max_length."
            ) from problem
        except KeyboardInterrupt:
            _interrupt(kernel, running)
            raise


def _environment() -> dict[str, str]:
    return {INTERVAL: str(seconds_between())} | os.environ  # the kernel has no terminal


def _interrupt(kernel: AsyncKernelManager, running: "Future[None]") -> None:
    """Interrupt the running cell, which ends the notebook; repeat, because a starting kernel ignores interrupts."""
    for _ in range(_INTERRUPTIONS):
        if kernel.has_kernel:
            _now(kernel.interrupt_kernel())
        if wait([running], _TO_STOP_S / _INTERRUPTIONS).done:
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
