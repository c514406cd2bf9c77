"""A gRPC server that answers as Google's APIs do, with the messages of Google's own client library."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2

Answer = Callable[[Any, grpc.ServicerContext], Any]


def operation(result: Any = None, name: str = "operations/1") -> Any:
    """Return a long operation that has ended with `result`, a message of the library, or with nothing."""
    packed = any_pb2.Any()
    packed.Pack(empty_pb2.Empty() if result is None else type(result).pb(result))
    return operations_pb2.Operation(name=name, done=True, response=packed)


def failed_operation(message: str) -> Any:
    """Return a long operation that has ended with an error."""
    return operations_pb2.Operation(name="operations/1", done=True, error=status_pb2.Status(code=9, message=message))


class FakeGoogle:
    """Answers the methods it is given; `requests` has what was asked, in order.

    Args:
        service: full name of the service, as google.cloud.run.v2.Services.
        methods: for each method the class of its request, and its answer.
    """

    def __init__(self, services: Mapping[str, Mapping[str, tuple[Any, Answer]]]) -> None:
        self.requests: list[Any] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        for service, methods in services.items():
            handlers = {name: self._handler(kind, answer) for name, (kind, answer) in methods.items()}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _handler(self, kind: Any, answer: Answer) -> grpc.RpcMethodHandler:
        def called(request: Any, context: grpc.ServicerContext) -> Any:
            self.requests.append(request)
            return answer(request, context)

        def serialized(reply: Any) -> bytes:
            message = type(reply).pb(reply) if hasattr(type(reply), "pb") else reply
            return message.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(called, kind.deserialize, serialized)
