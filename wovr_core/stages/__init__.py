"""One file per stage: run(config, inputs, out_dir, on_metrics) -> Outputs."""
