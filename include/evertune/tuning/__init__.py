"""Fine-tuning: methods, batches, the loop, checkpoints, and what memory they need."""
