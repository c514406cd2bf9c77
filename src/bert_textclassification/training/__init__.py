"""Makes an artifact from labelled texts. Torch, transformers and datasets live here and nowhere else."""

from bert_textclassification.training.cache_folders import use_writable_caches

use_writable_caches()
