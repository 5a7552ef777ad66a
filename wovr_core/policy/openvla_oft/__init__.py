"""OpenVLA-OFT with discrete action tokens, on transformers' own parts."""
