"""Closed loop over gRPC, with ``grpc.aio``: the same messages to every server, serialized before."""

import asyncio
import time
from typing import Any

import grpc

from tests.bench.serving.load import GRACE_SECONDS, LOST, Answer, Result

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CHANNELS = 4


async def closed_loop(port: int, message: bytes, clients: int, seconds: float, warm_up: float = 0.5) -> Result:
    """As ``load.closed_loop``. Status is 200 for OK, and LOST for every other."""
    result = Result()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(CHANNELS)]
    calls: list[Any] = [channel.unary_unary(METHOD) for channel in channels]
    begin = time.perf_counter() + warm_up
    end = begin + seconds

    async def drive(number: int) -> None:
        call = calls[number % CHANNELS]
        while (sent := time.perf_counter()) < end:
            try:
                await call(message, timeout=GRACE_SECONDS)
                status = 200
            except grpc.aio.AioRpcError:
                status = LOST
            now = time.perf_counter()
            result.total += 1
            if begin <= sent and now <= end:
                result.answers.append(Answer(status, now - sent, sent - begin))

    used = time.process_time()
    await asyncio.gather(*(drive(number) for number in range(clients)))
    result.busy = (time.process_time() - used) / (warm_up + seconds)
    result.seconds = seconds
    for channel in channels:
        await channel.close()
    return result
