"""Fine-tune a classifier: the Trainer, its batches and optimizer, checkpoints, hosts, seeds, distillation."""
