"""Further measures of imagined frames against real ones: perceptual, of motion, and of where things are."""
