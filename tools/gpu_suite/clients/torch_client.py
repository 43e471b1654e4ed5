"""PyTorch: torch_client.py PROCESSES [train]. Every collective of torch.distributed on one GPU that all processes share; or DDP and FSDP2,
whose losses are compared with the same training by gloo."""

import os

import client

ELEMENTS = 10007


def collectives(torch, dist, device):
    rank, world = dist.get_rank(), dist.get_world_size()
    own = torch.arange(ELEMENTS, device=device, dtype=torch.float32) + rank
    total = torch.arange(ELEMENTS, device=device, dtype=torch.float32) * world + world * (world - 1) / 2

    tensor = own.clone()
    dist.all_reduce(tensor)
    client.check(torch.equal(tensor, total), "all_reduce")
    tensor = own.clone()
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    client.check(torch.equal(tensor, own - rank + world - 1), "all_reduce max")
    tensor = own.clone()
    dist.broadcast(tensor, src=world - 1)
    client.check(torch.equal(tensor, own - rank + world - 1), "broadcast")
    tensor = own.clone()
    dist.reduce(tensor, dst=0)
    client.check(rank != 0 or torch.equal(tensor, total), "reduce")

    parts = [torch.empty_like(own) for _ in range(world)]
    dist.all_gather(parts, own)
    client.check(all(torch.equal(part, own - rank + i) for i, part in enumerate(parts)), "all_gather")
    flat = torch.empty(world * ELEMENTS, device=device)
    dist.all_gather_into_tensor(flat, own)
    client.check(torch.equal(flat, torch.cat(parts)), "all_gather_into_tensor")
    part = torch.empty_like(own)
    dist.reduce_scatter_tensor(part, flat)
    client.check(torch.equal(part, parts[rank] * world), "reduce_scatter_tensor")
    out = torch.empty_like(flat)
    dist.all_to_all_single(out, flat + 1000 * rank)
    client.check(torch.equal(out, torch.cat([parts[rank] + 1000 * i for i in range(world)])), "all_to_all_single")
    gathered = [torch.empty_like(own) for _ in range(world)] if rank == 0 else None
    dist.gather(own, gathered, dst=0)
    client.check(rank != 0 or all(torch.equal(a, b) for a, b in zip(gathered, parts)), "gather")
    dist.scatter(part, parts if rank == 0 else None, src=0)
    client.check(torch.equal(part, parts[rank]), "scatter")
    dist.barrier()


def pairs(torch, dist, device):
    """batch_isend_irecv with sizes of which some are zero."""
    rank, world = dist.get_rank(), dist.get_world_size()
    sizes = lambda source, target: (source * 3 + target * 5) % 4 * 1000
    out = [torch.full((sizes(rank, peer),), float(rank * 10 + peer), device=device) for peer in range(world)]
    into = [torch.empty(sizes(peer, rank), device=device) for peer in range(world)]
    ops = []
    for peer in range(world):
        if peer != rank:
            ops.append(dist.P2POp(dist.isend, out[peer], peer))
            ops.append(dist.P2POp(dist.irecv, into[peer], peer))
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    client.check(all(torch.all(into[peer] == peer * 10 + rank) for peer in range(world) if peer != rank), "batch_isend_irecv")


def premul(torch, dist, device):
    if not hasattr(dist, "_make_nccl_premul_sum"):
        print("FIGURE premul_sum this PyTorch has none")
        return
    tensor = torch.full((ELEMENTS,), 3.0, device=device)
    dist.all_reduce(tensor, op=dist._make_nccl_premul_sum(2.0))
    client.check(torch.all(tensor == 6.0 * dist.get_world_size()), "premul sum")


def split(torch, dist, device):
    rank, world = dist.get_rank(), dist.get_world_size()
    halves = [list(range(0, world // 2)), list(range(world // 2, world))]
    groups = [dist.new_group(half) for half in halves]
    mine = 0 if rank in halves[0] else 1
    tensor = torch.ones(ELEMENTS, device=device)
    dist.all_reduce(tensor, group=groups[mine])
    client.check(torch.all(tensor == len(halves[mine])), "all_reduce in a half")


def pool(torch, dist, device):
    """Tensors whose memory is ncclMemAlloc's."""
    backend = dist.group.WORLD._get_backend(device)
    if not hasattr(backend, "mem_allocator") or "expandable" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""):
        print("FIGURE mem_pool not with this PyTorch or allocator")
        return
    with torch.cuda.use_mem_pool(torch.cuda.MemPool(backend.mem_allocator)):
        tensor = torch.ones(ELEMENTS, device=device)
    dist.all_reduce(tensor)
    client.check(torch.all(tensor == dist.get_world_size()), "all_reduce in ncclMemAlloc's memory")


def graph(torch, dist, device):
    tensor = torch.ones(ELEMENTS, device=device)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        dist.all_reduce(tensor)  # what is made at the first call is made before the capture
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured, stream=stream):
        dist.all_reduce(tensor)
    tensor.fill_(1.0)
    for _ in range(3):
        captured.replay()
    torch.cuda.synchronize()
    client.check(torch.all(tensor == dist.get_world_size() ** 3), "replays of a captured all_reduce")


def model_of(torch):
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 64))


def losses(torch, dist, device, wrap, steps=6):
    """Of a small training; the same numbers for the same wrap whichever library moves the gradients."""
    model = wrap(model_of(torch).to(device))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    random = torch.Generator().manual_seed(100 + dist.get_rank())
    found = []
    for _ in range(steps):
        x = torch.randn(32, 64, generator=random).to(device)
        loss = (model(x) - x.roll(1, dims=1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def reference(torch, dist, steps=6):
    """The same by hand on the CPU over gloo: gradients averaged after every step."""
    model = model_of(torch)
    group = dist.new_group(backend="gloo")

    class Averaging(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            for parameter in inner.parameters():
                parameter.register_post_accumulate_grad_hook(self.average)

        def average(self, parameter):
            dist.all_reduce(parameter.grad, group=group)
            parameter.grad /= dist.get_world_size()

        def forward(self, x):
            return self.inner(x)
    return losses(torch, dist, torch.device("cpu"), lambda _: Averaging(model), steps)


def train(torch, dist, device):
    wanted = reference(torch, dist)
    parallel = torch.nn.parallel.DistributedDataParallel
    close = lambda seen: all(abs(a - b) <= 1e-5 * abs(b) for a, b in zip(seen, wanted))
    seen = losses(torch, dist, device, lambda model: parallel(model, device_ids=[0]))
    client.check(close(seen), f"losses of DDP {seen}, by gloo {wanted}")
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        print("FIGURE fsdp2 this PyTorch has none")
        return
    sharded = losses(torch, dist, device, lambda model: fully_shard(model) or model)
    client.check(close(sharded), f"losses of FSDP2 {sharded}, by gloo {wanted}")


def body(what="all"):
    torch = client.module("torch")
    dist = client.module("torch.distributed")
    if not torch.cuda.is_available():
        print("SKIPPED torch sees no CUDA device", flush=True)
        os._exit(client.SKIP)
    torch.backends.cuda.matmul.allow_tf32 = False
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    options = dist.ProcessGroupNCCL.Options()
    if what != "train" and hasattr(options, "config"):
        options.config.blocking = 0  # ncclCommInitRankConfig returns before the communicator is ready
    dist.init_process_group("nccl", pg_options=options, device_id=device)
    print(f"FIGURE torch {torch.__version__}")
    for test in [train] if what == "train" else [collectives, pairs, premul, split, pool, graph]:
        test(torch, dist, device)
        torch.cuda.synchronize()
        print(f"{test.__name__}: well", flush=True)
    dist.destroy_process_group()


client.main(__file__, body, 2)
