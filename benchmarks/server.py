"""What a server of one compiled file does under load: ``python -m benchmarks.server EXPLAINED.onnx``.

Starts examples/server.py and has clients ask it beside each other, each anew as soon as it is answered.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

ROOT = Path(__file__).parents[1]
CLIENTS, ROUNDS, PORT = 50, 4, 8765


async def client(address: str, body: bytes, rounds: int) -> list[float]:
    """Seconds of each answer."""
    took = []
    async with httpx.AsyncClient(timeout=300) as session:
        for _ in range(rounds):
            start = time.perf_counter()
            (await session.post(address, content=body)).raise_for_status()
            took.append(time.perf_counter() - start)
    return took


async def measure(clients: int, rounds: int) -> str:
    """One line of what clients saw."""
    body = (ROOT / "examples" / "cat.jpg").read_bytes()
    address = f"http://127.0.0.1:{PORT}/explain"
    start = time.perf_counter()
    every = await asyncio.gather(*(client(address, body, rounds) for _ in range(clients)))
    passed, took = time.perf_counter() - start, np.concatenate(every)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return f"{clients} clients: {took.size / passed:.1f} answers/s, median {p50:.2f} s, p99 {p99:.2f} s"


def main(model: str) -> None:
    """Serve, measure one client and many, stop."""
    command = [sys.executable, "-m", "uvicorn", "--app-dir", "examples", "server:app", "--port", str(PORT)]
    environment = {**os.environ, "MODEL": str(Path(model).resolve())}
    server = subprocess.Popen([*command, "--log-level", "error"], cwd=ROOT, env=environment)
    try:
        for _ in range(200):
            try:
                asyncio.run(measure(1, 1))
                break
            except httpx.ConnectError:
                time.sleep(0.1)
        for clients, rounds in ((1, 20), (CLIENTS, ROUNDS)):
            print(asyncio.run(measure(clients, rounds)), flush=True)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(sys.argv[1])
