"""A process that was forked from one with a client connects anew; the parent's goes on."""

import os
import subprocess
import sys

from tests.client.scripted_server import ScriptedServer

PROGRAM = """
import asyncio, os, sys
import euclidesdb

target = sys.argv[1]

async def asynchronous():
    async with euclidesdb.AsyncClient(target, timeout=30) as db:
        await db.models()

def use(db):
    db.models()
    db.models()

db = euclidesdb.Client(target, timeout=30)
use(db)
if "AsyncClient" in sys.argv:
    asyncio.run(asynchronous())
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        try:
            use(db)
            if "AsyncClient" in sys.argv:
                try:
                    asyncio.run(asynchronous())
                except RuntimeError as error:
                    assert "forked from one that has used an AsyncClient" in str(error)
                else:
                    os._exit(2)
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    children.append(child)
use(db)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
use(db)
print(codes)
"""


def forked(target, *used):
    """What a program prints whose clients are used before forks, in the children and after."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, target, *used]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout + done.stderr


def test_a_forked_process_uses_a_connection_of_its_own():
    with ScriptedServer() as server:
        printed = forked(server.target)
        assert "[0, 0]" in printed, printed
        assert server.calls("ListModels") == 10


def test_asyncio_in_a_forked_process_is_an_error_and_does_not_wait_forever():
    with ScriptedServer() as server:
        printed = forked(server.target, "AsyncClient")
        assert "[0, 0]" in printed, printed
