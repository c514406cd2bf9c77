"""Export the variants of a fine-tuned model, measure them, choose the default, and write the artifact."""
