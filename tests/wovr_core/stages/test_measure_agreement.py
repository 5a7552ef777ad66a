"""What the measure reads off the simulator; the whole of it runs in `tests/workbench/reproduce/test_studies.py`."""

import numpy as np
import pytest

from wovr_core.envs.libero import LiberoConfig, LiberoEnv
from wovr_core.envs.pool import EnvPool
from wovr_core.errors import WovrError
from wovr_core.stages.measure_agreement import _height, refuse_furniture


def test_an_object_has_a_height_and_a_part_of_the_furniture_has_none() -> None:
    drawer, bowl = (LiberoEnv(LiberoConfig(suite="libero_goal", size=16), task) for task in (0, 1))
    for env in (drawer, bowl):
        env.reset(0)
    assert np.isnan(_height(drawer))
    name = bowl.objects_of_interest[0]
    assert _height(bowl) == bowl.poses()[name][2] > 0
    for env in (drawer, bowl):
        env.close()


def test_tasks_without_an_object_to_be_lifted_are_refused_before_anything_is_imagined() -> None:
    env = LiberoConfig(suite="libero_goal", size=16)
    with EnvPool(1) as pool:
        refuse_furniture(env, [0, 1], pool)
        with pytest.raises(WovrError, match=r"none of the tasks \[0\] of libero_goal"):
            refuse_furniture(env, [0], pool)
