"""Started by `accelerate launch` from the tests: train a small pretrained Wan as the stage does.

large_jobs.py EPISODES OUT SETTINGS(JSON) [STOP_AT]
"""

import json
import os
import sys
from functools import partialmethod
from pathlib import Path

import torch

from wovr_core.config import from_dict
from wovr_core.stages import train_world_model
from wovr_core.stages.train_world_model import WorldModelInputs, WorldModelTrainingConfig
from wovr_core.stages.training import Training
from wovr_core.world_model.windows import FrameWindows


def main() -> None:
    torch.set_num_threads(1)
    episodes, out, settings = sys.argv[1:4]
    config = from_dict(WorldModelTrainingConfig, json.loads(Path(settings).read_text()), settings)
    if len(sys.argv) > 4:  # die without warning at a step
        stop, sample, seen = int(sys.argv[4]), FrameWindows.sample, []
        Training.__init__ = partialmethod(Training.__init__, save_every_seconds=0.0)  # type: ignore[assignment]

        def torn(self: FrameWindows, *args: object) -> object:
            seen.append(1)
            if len(seen) > stop:
                os._exit(3)
            return sample(self, *args)  # type: ignore[arg-type]

        FrameWindows.sample = torn  # type: ignore[assignment,method-assign]
    outputs = train_world_model.run(config, WorldModelInputs((episodes,), ("v",), seed=0), Path(out))
    print("finished", outputs.version)


if __name__ == "__main__":
    main()
