"""`wovr reproduce starter`: the run behind the starter pack, and the pack made of it."""

from __future__ import annotations

import logging

RUN = "starter_source"

log = logging.getLogger("wovr")


def reproduce_starter(name: str | None = None) -> int:
    """Run or resume the starter's recipe, imagine with its models as bf16, audit, and write the pack into the package.

    name: of the run; None: starter_source.
    """
    from workbench.starter import DATA
    from workbench.starter.pack import write_pack
    from workbench.starter.rounding import imagine_rounded, recipe
    from wovr_core.envs import gl
    from wovr_core.envs.pool import EnvPool
    from wovr_core.interrupts import polite_interrupts
    from wovr_core.pipeline import main_job
    from wovr_core.run_folder import Run, resolve_run

    settings = recipe()
    gl.prepare()
    path = resolve_run(name or RUN)
    with polite_interrupts():
        with Run(path, settings) as run:
            run.on_stage = _say
            for _ in main_job(run):
                pass
        with EnvPool(workers=settings.workers) as pool:
            rounded = imagine_rounded(path, path.with_name(f"{path.name}_bf16"), pool, _say)
    found = write_pack(path, rounded)
    print(f"{DATA}: {found['bytes'] / 1e6:.1f} MB, {len(found['files'])} files, models {found['models']}")
    print(f"imagination as bf16 against float32: {found['precision']['psnr_all']} dB")
    return 0


def _say(stage: str) -> None:
    log.info("== %s", stage)
