"""Process: the agent of one GPU node and its CSI driver. Composition only."""
