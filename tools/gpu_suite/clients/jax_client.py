"""JAX: psum, all_gather and ppermute over all devices it sees. It takes one device a process at most once, so on a machine with one GPU
there is nothing for a collective to join, which is what is recorded then."""

import os

import client


def body():
    jax = client.module("jax")
    try:
        devices = jax.devices("gpu")
    except RuntimeError as error:
        print(f"SKIPPED jax sees no GPU: {str(error).splitlines()[0]}", flush=True)
        os._exit(client.SKIP)
    if len(devices) < 2:
        print("SKIPPED jax makes collectives between devices only, and this machine has one", flush=True)
        os._exit(client.SKIP)
    numpy = client.module("jax.numpy")
    count = len(devices)
    values = numpy.arange(count * 1000, dtype=numpy.float32).reshape(count, 1000)
    around = [(i, (i + 1) % count) for i in range(count)]
    run = lambda body_: jax.pmap(body_, axis_name="d", devices=devices)(values)
    client.check(bool((run(lambda x: jax.lax.psum(x, "d")) == values.sum(axis=0)).all()), "psum")
    client.check(bool((run(lambda x: jax.lax.all_gather(x, "d")) == values[None]).all()), "all_gather")
    client.check(bool((run(lambda x: jax.lax.ppermute(x, "d", around)) == numpy.roll(values, 1, axis=0)).all()), "ppermute")
    print(f"FIGURE jax {jax.__version__}")


client.main(__file__, body, 1)
