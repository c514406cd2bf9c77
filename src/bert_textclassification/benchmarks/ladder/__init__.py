"""The optimisation ladder: the gain of each optimisation from BERT-base in torch to the served model, in one run."""
