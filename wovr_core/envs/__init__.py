"""Real environments: LIBERO, its fast rendering, pools of processes, scripted demonstrators."""
