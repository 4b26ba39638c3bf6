"""What the learned entries share: training sources and loop, networks, recipes. All of it needs PyTorch."""
