"""The stand-in refuses what CUDA refuses, and counts what CUDA makes the host wait for."""

import pytest
import torch

from tests.gpu.device import MixedDevicesError, stand_in


def test_tensors_say_where_they_are() -> None:
    with stand_in():
        made = torch.ones(2, 3, device="cuda")
        assert made.device == torch.device("cuda:0")
        assert (made + 1).mul_(2).device == made.device
        assert made.cpu().device.type == "cpu"
        assert (made[1:] @ made.T).cpu().tolist() == [[3.0, 3.0]]
    assert not torch.cuda.is_available()


def test_devices_do_not_mix() -> None:
    with stand_in():
        device, host = torch.ones(3, device="cuda"), torch.ones(3)
        with pytest.raises(MixedDevicesError):
            device + host
        with pytest.raises(MixedDevicesError):
            torch.cat([device, host])
        with pytest.raises(MixedDevicesError):
            torch.nn.functional.linear(device, torch.ones(3, 3))
        with pytest.raises(RuntimeError, match="numpy"):
            device.numpy()
        assert (device * torch.tensor(2.0)).sum().cpu() == 6  # a scalar of the host's is passed along


def test_waits_are_counted() -> None:
    with stand_in() as device:
        values = torch.arange(4.0, device="cuda")
        device.counting = True
        values = values * 2 + values.flip(0)
        assert not device.waits
        for wait in (
            lambda: values.sum().item(),
            lambda: bool(values[0] > 1),
            lambda: values.nonzero(),
            lambda: values.cpu(),
            lambda: torch.ones(4).to("cuda"),
            lambda: torch.arange(9.0)[values[0].long()],
            lambda: values[values > 1],
        ):
            device.waits.clear()
            wait()
            assert device.waits.total() == 1, device.waits


def test_a_graph_repeats_its_work_in_the_same_memory() -> None:
    with stand_in():
        given = torch.zeros(3, device="cuda")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = (given[1:] + 1) * 2
            made.add_(1)
        given.copy_(torch.tensor([0.0, 1.0, 2.0]))
        graph.replay()
        assert made.cpu().tolist() == [5.0, 7.0]
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            given.cpu()
