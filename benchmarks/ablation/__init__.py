"""The network and its recipe, one choice at a time, on a fixed budget (docs/ablation.md)."""
