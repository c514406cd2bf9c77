"""Make an artifact from labelled texts. Only this package and `benchmarks` import torch, transformers and datasets."""

from bert_textclassification.training.cache_folders import use_writable_caches

use_writable_caches()
