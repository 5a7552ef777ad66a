"""Metrics, read from the files that the stages write, and sent on to trackers for those who use one.

metrics.jsonl is the truth; a tracker is a copy that can be thrown away and made again:

    records     typed lines of metrics.jsonl, and a tail that follows it while a stage writes
    stages      the stage folders of a run, as a tracker needs them
    clips       rollouts and episodes as animated pictures
    tables      evaluations and audits as rows
    lineage     datasets and checkpoints as inputs and outputs of stages
    sync        what has been sent is remembered in the run folder; nothing is sent twice
    wandb_sink, tensorboard_sink   where it goes
"""
