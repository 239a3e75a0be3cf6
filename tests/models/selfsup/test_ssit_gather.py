"""InfoNCE and NT-Xent over two processes are those of the batches joined, gradients too; SSiT trains under DDP."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from medkit.models.selfsup import info_nce, nt_xent

COUNT, SIZE = 6, 5  # samples of both processes together, channels


def features() -> tuple[Tensor, Tensor]:
    return torch.randn(2, COUNT, SIZE, generator=torch.Generator().manual_seed(0)).unbind()


def work(rank: int, folder: str) -> None:
    """What one process does: losses and gradients to a file, then a step of SSiT."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mine = slice(rank * COUNT // 2, (rank + 1) * COUNT // 2)
    out = {}
    for name, keys_learn in (("fixed", False), ("learnt", True)):
        q, k = (x[mine].clone() for x in features())
        q.requires_grad_(), k.requires_grad_(keys_learn)
        loss = info_nce(q, k)
        loss.backward()
        out[name] = dict(loss=loss.detach(), q=q.grad, k=k.grad)
    q, k = (x[mine].clone().requires_grad_() for x in features())
    loss = nt_xent(q, k)
    loss.backward()
    out["nt_xent"] = dict(loss=loss.detach(), q=q.grad, k=k.grad)
    torch.save(out | dict(step=ssit_step(rank)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def ssit_step(rank: int) -> dict[str, Tensor]:
    """Weights and averages after one step under DDP; each process has other images."""
    from torch.nn.parallel import DistributedDataParallel

    from tests.models.selfsup.ssit_golden import model

    torch.manual_seed(0)
    net = model(momentum=0.5)
    net.init_weights()
    wrapped = DistributedDataParallel(net, broadcast_buffers=False)  # as mmengine: no unused parameters allowed
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    generator = torch.Generator().manual_seed(rank)
    for _ in range(2):  # the second step moves the averages
        views = torch.randn(2, 4, 3, 64, 64, generator=generator)
        maps = torch.rand(2, 4, 1, 64, 64, generator=generator)
        optimizer.zero_grad()
        sum(wrapped(list(views), saliency=list(maps), mode="loss").values()).backward()
        optimizer.step()
    return net.state_dict()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("gloo")
    mp.get_context("forkserver").set_forkserver_preload(["medkit.models.selfsup"])  # imported once for both
    mp.start_processes(work, args=(str(folder),), nprocs=2, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture
def joined() -> dict[str, Tensor]:
    q, k = (x.requires_grad_() for x in features())
    loss = info_nce(q, k)
    loss.backward()
    return dict(loss=loss.detach(), q=q.grad, k=k.grad)


@pytest.mark.parametrize("name", ["fixed", "learnt"])
def test_mean_loss_is_that_of_the_joined_batch(name: str, ranks: list[dict], joined: dict[str, Tensor]) -> None:
    losses = torch.stack([rank[name]["loss"] for rank in ranks])
    torch.testing.assert_close(losses.mean(), joined["loss"])
    assert losses[0] != losses[1]  # each has its own queries


def test_mean_gradient_is_that_of_the_joined_batch(ranks: list[dict], joined: dict[str, Tensor]) -> None:
    """DDP averages over processes, hence the half."""
    for name in ("fixed", "learnt"):
        torch.testing.assert_close(torch.cat([rank[name]["q"] for rank in ranks]) / 2, joined["q"])
    torch.testing.assert_close(torch.cat([rank["learnt"]["k"] for rank in ranks]) / 2, joined["k"])
    assert ranks[0]["fixed"]["k"] is None


def test_nt_xent_has_the_negatives_of_both(ranks: list[dict]) -> None:
    q, k = (x.requires_grad_() for x in features())
    loss = nt_xent(q, k)
    loss.backward()
    torch.testing.assert_close(sum(rank["nt_xent"]["loss"] for rank in ranks) / 2, loss.detach())
    for name, joined in (("q", q), ("k", k)):
        torch.testing.assert_close(torch.cat([rank["nt_xent"][name] for rank in ranks]) / 2, joined.grad)


def test_processes_agree_on_weights_and_averages(ranks: list[dict]) -> None:
    first, second = (rank["step"] for rank in ranks)
    differ = {name for name in first if not torch.allclose(first[name].float(), second[name].float(), atol=1e-6)}
    assert {name.split(".")[-1] for name in differ} == {"running_mean", "running_var"}  # each saw its own images
    name = "backbone.layers.0.attn.qkv.weight"
    assert not torch.equal(first[name], first[f"momentum_encoder.{name}"])
