"""A page of the app: what the task of this package looks like."""

from __future__ import annotations

import gradio as gr
import numpy as np
from fastapi import APIRouter

from apps.pages import PageInfo, PageParts
from apps.services import Services
from workbench.server.roles import Role
from wovr_core.errors import WovrError
from wovr_reach.environment import ReachConfig, ReachEnv

PAGE = PageInfo("reach", "Reach", "wovr_reach.page", "What the reaching task looks like")


def build(services: Services) -> PageParts:
    def describe(seed: float, request: gr.Request) -> str:
        try:
            services.user_of(request).require(Role.VIEWER, "look at the task")
        except WovrError as error:
            return str(error)
        env = ReachEnv(ReachConfig(), 0)
        env.reset(int(seed))
        return f"hand and block at {np.round(env.sim_state(), 2).tolist()}"

    seed = gr.Number(0, label="Start", precision=0)
    answer = gr.Textbox(label="Where things are", elem_id="reach-answer")
    gr.Button("Show").click(describe, seed, answer, api_visibility="private")
    return PageParts(APIRouter(), "")
