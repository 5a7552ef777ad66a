"""Episodes on disk, training segments, keyframes."""
