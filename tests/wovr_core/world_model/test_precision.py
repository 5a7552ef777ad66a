"""bf16 only where it pays, and no compiler needed."""

import pytest
import torch

from wovr_core.world_model import precision
from wovr_core.world_model.transformer import ActionWanTransformer


def test_autocast_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(2, 2)
    for pays, kind in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "bf16_pays", lambda pays=pays: pays)
        with precision.autocast("cpu"):
            assert (x @ x).dtype == kind
        with precision.autocast("cpu", enabled=False):
            assert (x @ x).dtype == torch.float32


def test_without_a_compiler_the_model_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc

    def missing() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    model = ActionWanTransformer(num_attention_heads=1, attention_head_dim=16, ffn_dim=16, num_layers=1)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        assert precision.compile_blocks(model) is False
    assert getattr(model.blocks[0], "_compiled_call_impl", None) is None
