"""What fine-tuning minimises: cross-entropy, behind every exit, and how far two readings of a text are apart."""

from collections.abc import Sequence

import torch

from bert_textclassification.training.modeling.classifier import ClassifierOutput, TextClassifier


class ExitLoss:
    """The loss of a batch: cross-entropy, weighted by class, the mean over its rows.

    With early exits it is the mean of all exits', weighted by their layers (Kaya et al. 2019).

    With `r_drop` a batch that is trained on holds each row twice, and dropout has both readings differ: R-Drop (Liang
    et al. 2021) adds how far they are apart, the mean of both Kullback-Leibler divergences, times `r_drop`. Their alpha
    is twice that, because they add the cross-entropies of both readings where this is their mean.
    """

    def __init__(self, model: TextClassifier, class_weights: Sequence[float] | None, r_drop: float) -> None:
        self._model, self._r_drop = model, r_drop
        self._class_weights = None if class_weights is None else torch.tensor(class_weights)
        self._layers = (*model.exit_layers, int(model.encoder.config.num_hidden_layers))

    def __call__(
        self, outputs: ClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the loss; `num_items_in_batch` are the rows of all hosts, each counted once.

        With the mean over its own rows, an odd rest would count for more on one of the hosts.
        """
        early = outputs["early"].unbind(dim=1) if self._model.exit_layers else ()
        losses = [self._of_exit(logits.float(), labels) for logits in (*early, outputs["logits"])]
        weighted = [layer * loss for layer, loss in zip(self._layers, losses, strict=True)]
        mean = torch.stack(weighted).sum() / sum(self._layers)
        if num_items_in_batch is None:
            num_items_in_batch = len(labels) // 2 if self._reads_twice else len(labels)
        return mean / num_items_in_batch

    @property
    def _reads_twice(self) -> bool:
        return bool(self._r_drop and self._model.training)

    def _of_exit(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight = None if self._class_weights is None else self._class_weights.to(labels.device)
        loss = torch.nn.functional.cross_entropy(logits, labels, weight=weight, reduction="sum")
        if not self._reads_twice:
            return loss
        first, second = torch.log_softmax(logits, dim=-1).chunk(2)
        apart = _divergence(first, second) + _divergence(second, first)
        return loss / 2 + self._r_drop * apart / 2


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Return the sum over the rows of KL(p || q)."""
    return torch.nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
