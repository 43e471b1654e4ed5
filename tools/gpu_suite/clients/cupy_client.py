"""CuPy's NCCL interface: cupy_client.py PROCESSES. The id of the communicator goes through a file."""

import os
import time

import client

ELEMENTS = 5003


def identifier(nccl, rank):
    path = f"/tmp/weft-suite-{os.getuid()}-{os.environ['MASTER_PORT']}"
    if rank == 0:
        made = nccl.get_unique_id()
        with open(path + ".new", "w", encoding="ascii") as out:
            out.write(",".join(str(int(value)) for value in made))
        os.rename(path + ".new", path)
        return made, path
    end = time.monotonic() + 60
    while not os.path.exists(path):
        client.check(time.monotonic() < end, "rank 0 left no id")
        time.sleep(0.02)
    with open(path, encoding="ascii") as text:
        return tuple(int(value) for value in text.read().split(",")), path


def body():
    cupy = client.module("cupy")
    nccl = client.module("cupy.cuda.nccl") if hasattr(cupy.cuda, "nccl") else client.module("cupy_backends.cuda.libs.nccl")
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cupy.cuda.Device(0).use()
    made, path = identifier(nccl, rank)
    comm = nccl.NcclCommunicator(world, made, rank)
    if rank == 0:
        os.unlink(path)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        own = cupy.arange(ELEMENTS, dtype=cupy.float32) + rank
        total = cupy.empty_like(own)
        comm.allReduce(own.data.ptr, total.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, nccl.NCCL_SUM, stream.ptr)
        every = cupy.empty(ELEMENTS * world, dtype=cupy.float32)
        comm.allGather(own.data.ptr, every.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, stream.ptr)
        part = cupy.empty_like(own)
        comm.reduceScatter(every.data.ptr, part.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, nccl.NCCL_SUM, stream.ptr)
        spread = own.copy()
        comm.broadcast(spread.data.ptr, spread.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, world - 1, stream.ptr)
        around = cupy.empty_like(own)
        nccl.groupStart()
        comm.send(own.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, (rank + 1) % world, stream.ptr)
        comm.recv(around.data.ptr, ELEMENTS, nccl.NCCL_FLOAT32, (rank - 1) % world, stream.ptr)
        nccl.groupEnd()
    stream.synchronize()
    base = cupy.arange(ELEMENTS, dtype=cupy.float32)
    client.check(bool((total == base * world + world * (world - 1) / 2).all()), "allReduce")
    client.check(bool((every.reshape(world, -1) == base + cupy.arange(world, dtype=cupy.float32)[:, None]).all()), "allGather")
    client.check(bool((part == (base + rank) * world).all()), "reduceScatter")
    client.check(bool((spread == base + world - 1).all()), "broadcast")
    client.check(bool((around == base + (rank - 1) % world).all()), "send and recv")
    comm.destroy()
    print(f"FIGURE cupy {cupy.__version__}")


client.main(__file__, body, 2)
