"""A minimal server of Lambda's Runtime API, and events of an HTTP API."""

import json
import queue
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.conftest import PATIENCE_S

JSON = {"content-type": "application/json"}


class Api:
    """An HTTP server on a free port, in a thread; `answer` returns status, headers and body."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                reply = self.answer(handler.path, dict(handler.headers), body)
                if reply is None:  # close the connection without a response
                    handler.close_connection = True
                    return
                status, headers, content = reply
                handler.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(content)

            do_GET = do_POST

            def log_message(handler, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Runtime(Api):
    """Lambda's Runtime API, and a process that runs a function on its events.

    Args:
        command: starts the function; `{api}` is replaced by the address of the Runtime API.
        options: passed to `subprocess.Popen`.
    """

    def __init__(self, command: list[str], **options: Any) -> None:
        super().__init__()
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._answers: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._command = [word.format(api=self.address) for word in command]
        self._options = options
        self.time_s = 28.0

    @classmethod
    def of_folder(cls, folder: Path, handler: str, **environment: str) -> Self:
        """Run the code in `folder` under the runtime client of this installation."""
        variables = [f"{name}={value}" for name, value in environment.items()]
        command = ["env", "AWS_LAMBDA_RUNTIME_API={api}", *variables, sys.executable, "-m", "awslambdaric", handler]
        return cls(command, cwd=folder)

    @classmethod
    def of_image(cls, image: str, *options: str) -> Self:
        """Run an image."""
        return cls(["docker", "run", "--env", "AWS_LAMBDA_RUNTIME_API={api}", *options, image])

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        if not path.endswith("/invocation/next"):
            self._answers.put((path.rpartition("/")[2], json.loads(body)))
            return 202, {}, b""
        if (event := self._events.get()) is None:
            return None
        deadline = str(int((time.time() + self.time_s) * 1000))
        invocation = {
            "Content-Type": "application/json",  # the client crashes without it
            "Lambda-Runtime-Aws-Request-Id": "invocation-1",
            "Lambda-Runtime-Deadline-Ms": deadline,
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:gateway",
        }
        return 200, invocation, event

    def __enter__(self) -> Self:
        super().__enter__()
        self._process = subprocess.Popen(
            self._command, **self._options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()
        self._events.put(None)
        super().__exit__()

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        self._events.put(json.dumps(event).encode())
        kind, answer = self._answers.get(timeout=PATIENCE_S)
        assert kind == "response", answer
        return answer

    def last_line(self) -> dict[str, Any]:
        """Read the next line that the function prints, and parse it as JSON."""
        return json.loads(self._process.stdout.readline())


def event(body: str, headers: dict[str, str] = JSON, query: str = "", is_base64: bool = False) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "POST /invocations",
        "rawPath": "/invocations",
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "requestId": "request-1",
            "stage": "$default",
            "domainName": "api.example.com",
            "http": {"method": "POST", "path": "/invocations", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }
