"""Training: batches of groups, the contrastive loss, the towers' module, and what a run exports."""
