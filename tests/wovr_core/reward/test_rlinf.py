"""RLinf's reward models: published names, independent numbers, files read without running anything in them."""

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rlinf_reference import trunk
from wovr_core.errors import CorruptFileError, UnknownNameError, WovrError
from wovr_core.reward.rlinf import ResnetReward, TaskEmbedReward, from_state
from wovr_core.world_model.rlinf import load_state

TASKS = ["turn on the stove", "open the drawer", "put the bowl on the plate"]


def randomise(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            scale = 0.5 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
            tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
            if "running_var" in name:
                tensor.abs_().add_(0.5)


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randint(0, 256, (3, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_plain_one_computes_what_its_names_say(frames, tmp_path):
    model = ResnetReward()
    randomise(model)
    state = model.state_dict()
    assert state["net.7.weight"].shape == (1, 512)
    x = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    expected = torch.sigmoid(trunk(state, "net", x) @ state["net.7.weight"].T + state["net.7.bias"])[:, 0]
    torch.testing.assert_close(model.eval()(frames, ["any"] * 3), expected, rtol=1e-4, atol=1e-5)
    for n, content in enumerate((state, {"model_state_dict": state})):
        path = tmp_path / f"{n}.pth"
        torch.save(content, path)
        again = from_state(load_state(path))
        assert isinstance(again, ResnetReward)
        assert torch.equal(again(frames), model(frames))


@torch.no_grad()
def test_tasks_are_numbered_by_the_alphabet(frames):
    model = TaskEmbedReward(TASKS)
    randomise(model)
    s = model.state_dict()
    assert s["fusion_layer.0.weight"].shape == (256, 576)
    x = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    told = s["task_embedding.weight"][[2, 0, 1]]  # turn, open, put
    hidden = F.relu(
        torch.cat([trunk(s, "visual_encoder", x), told], 1) @ s["fusion_layer.0.weight"].T + s["fusion_layer.0.bias"]
    )
    expected = torch.sigmoid(hidden @ s["fusion_layer.3.weight"].T + s["fusion_layer.3.bias"])[:, 0]
    torch.testing.assert_close(model.eval()(frames, TASKS), expected, rtol=1e-4, atol=1e-5)
    again = from_state(s, TASKS[::-1])
    assert torch.equal(again(frames, TASKS), model(frames, TASKS))
    with pytest.raises(UnknownNameError, match="did you mean 'turn on the stove'"):
        model(frames[:1], ["turn on the stoves"])
    with pytest.raises(WovrError, match="one of 3 tasks"):
        from_state(s)


def test_files_that_do_not_fit(tmp_path):
    state = dict(ResnetReward().state_dict())
    state.pop("net.4.1.conv2.bias")
    with pytest.raises(WovrError, match=r"1 tensors missing \['net\.4\.1\.conv2\.bias'\]"):
        from_state(state)

    class Run:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"net": Run()}, tmp_path / "evil.pth", pickle_module=pickle)
    with pytest.raises(CorruptFileError, match="plain tensors"):
        load_state(tmp_path / "evil.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Run()))
    with pytest.raises(CorruptFileError, match="plain tensors"):
        load_state(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
