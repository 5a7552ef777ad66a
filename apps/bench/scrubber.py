"""The scrubber in a real browser: time until ready, time of a step, memory, and the size of packed frames.

The page is the Gradio host on loopback in headless Chromium, without a GPU. Limits stand as baselines.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from apps.bench import Row, row
from apps.bench.browser import chromium, served
from workbench.scrubber.frame_packs import Codec, pack
from workbench.scrubber.payload import Payload, from_rollout
from workbench.scrubber.sample import numbered_rollout
from workbench.scrubber.span_log import MemorySpans
from wovr_core.types import ACTION_DIM, Frames

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READY_LIMIT_MS = 500.0
STEP_LIMIT_MS = 16.0
MEMORY_LIMIT_MB = 128.0
"""Of decoded pictures; undivided, 512 frames of 256 px in three panes are 403 MB."""

_READY = ".scrubber-root[data-state=ready]"
_SCRUBBER = "[...document.querySelectorAll('*')].find((node) => node.wovrScrubber).wovrScrubber"
# One step: from the key to the picture, with the canvases read back so that nothing is left for later.
_STEPS = """async ([count, stride]) => {
  const soon = () => new Promise((go) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = go;
    channel.port2.postMessage(0);
  });
  const s = SCRUBBER, times = [];
  const canvases = [...s.root.querySelectorAll('canvas')];
  for (let i = 0; i < count; i++) {
    const from = performance.now();
    if (stride) s.seek((s.frame + stride) % s.meta.frames);
    else s.root.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true, composed: true }));
    while (!s.drawn) await soon();
    for (const canvas of canvases) canvas.getContext('2d').getImageData(0, 0, 1, 1);
    times.push(performance.now() - from);
    await new Promise(requestAnimationFrame);
  }
  return times;
}""".replace("SCRUBBER", _SCRUBBER)


def run(
    ready_chunks: int = 38,
    ready_sizes: Sequence[int] = (64, 128),
    loads: int = 5,
    memory_chunks: int = 64,
    codec_sizes: Sequence[int] = (64, 128, 256),
) -> list[Row]:
    """All rows. A rollout of n chunks has 8 n + 1 frames."""
    rows = []
    with chromium() as browser:
        for size in ready_sizes:
            rows += _ready(browser, size, ready_chunks, loads)
        rows += _memory(browser, memory_chunks)
    for size in codec_sizes:
        rows += _codecs(size)
    return rows


def _ready(browser: Browser, size: int, chunks: int, loads: int) -> list[Row]:
    payload = from_rollout(*numbered_rollout(chunks, size), success_threshold=0.9)
    ready, steps = [], []
    with served(_site(payload)) as url:
        for _ in range(loads):
            page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
            page.goto(url)
            page.wait_for_selector(_READY)
            ready.append(_measured(page)["ready"])
            steps += page.evaluate(_STEPS, [100, 0])
            page.context.close()
    name = f"{payload.frames} frames x 3 panes, {size} px"
    return [
        row(f"{name}: ready, median of {loads}", float(np.median(ready)), "ms", READY_LIMIT_MS),
        row(f"{name}: step, median", float(np.median(steps)), "ms", STEP_LIMIT_MS),
        row(f"{name}: step, 95th percentile", float(np.percentile(steps, 95)), "ms", STEP_LIMIT_MS),
    ]


def _memory(browser: Browser, chunks: int, size: int = 256) -> list[Row]:
    rollout, real = numbered_rollout(chunks, size // 4)
    rollout = dataclasses.replace(rollout, frames=_enlarged(rollout.frames))
    real = dataclasses.replace(real, frames=_enlarged(real.frames))
    begin = time.perf_counter()
    payload = from_rollout(rollout, real, success_threshold=0.9)
    made = time.perf_counter() - begin
    with served(_site(payload)) as url:
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        cdp = page.context.new_cdp_session(page)
        page.goto(url)
        page.wait_for_selector(_READY)
        steps = page.evaluate(_STEPS, [payload.frames - 1, 0])
        jumps = page.evaluate(_STEPS, [60, 211])
        measured = _measured(page)
        heap = next(
            metric["value"]
            for metric in (cdp.send("Performance.enable"), cdp.send("Performance.getMetrics"))[1]["metrics"]
            if metric["name"] == "JSHeapUsedSize"
        )
        resident = _renderer_memory(browser)
        page.context.close()
    name = f"{payload.frames} frames x 3 panes, {size} px"
    mib = float(2**20)
    return [
        row(f"{name}: decoded pictures at most", measured["peakBytes"] / mib, "MiB", MEMORY_LIMIT_MB),
        row(f"{name}: JavaScript heap", heap / mib, "MiB"),
        row(f"{name}: packs", measured["packBytes"] / mib, "MiB"),
        row(f"{name}: largest renderer process", resident / mib, "MiB"),
        row(f"{name}: step, 95th percentile", float(np.percentile(steps, 95)), "ms", STEP_LIMIT_MS),
        row(f"{name}: far jump, 95th percentile", float(np.percentile(jumps, 95)), "ms"),
        row(f"{name}: made in Python", made, "s"),
    ]


def _codecs(size: int, frames: int = 24) -> list[Row]:
    real = _libero_frames(size, frames)
    rows = []
    raw = real[0].nbytes / 1024
    for codec, quality in (("webp", 90), ("webp-lossless", 20), ("jpeg", 85)):
        begin = time.perf_counter()
        packed = pack(real, cast(Codec, codec), quality)
        spent = (time.perf_counter() - begin) / frames * 1000
        rows.append(
            row(f"LIBERO {size} px, {codec} {quality}: size", len(packed.data) / frames / 1024, "KB/frame", raw)
        )
        rows.append(row(f"LIBERO {size} px, {codec} {quality}: packing", spent, "ms/frame"))
    return rows


def _libero_frames(size: int, count: int) -> Frames:
    """(count, size, size, 3) of the arm in random motion."""
    from wovr_core.envs.libero import LiberoConfig, LiberoEnv

    env = LiberoEnv(LiberoConfig(suite="libero_object", size=size), 0)
    generator = np.random.default_rng(0)
    try:
        out = [env.reset(0)]
        while len(out) < count:
            out.append(env.step(generator.uniform(-1, 1, ACTION_DIM).astype(np.float32)).frame)
    finally:
        env.close()
    return np.stack(out)


def _site(payload: Payload) -> Any:
    from apps.bench.scrubber_site import site

    return site([payload], MemorySpans())


def _measured(page: Page) -> dict[str, float]:
    return cast(dict[str, float], page.evaluate(f"{_SCRUBBER}.measure()"))


def _enlarged(frames: Frames) -> Frames:
    return cast(Frames, np.repeat(np.repeat(frames, 4, axis=1), 4, axis=2))


def _renderer_memory(browser: Browser) -> int:
    """Resident bytes of the largest renderer process, 0 where the system does not tell."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = [0]
    for process in processes:
        status = Path(f"/proc/{process['id']}/status")
        if process["type"] == "renderer" and status.exists():
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            sizes.append(int(line.split()[1]) * 1024)
    return max(sizes)
