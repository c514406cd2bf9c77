"""The training loss: cross-entropy of every exit, and optionally the R-Drop divergence."""

from collections.abc import Sequence

import torch

from bert_textclassification.training.modeling.classifier import ClassifierOutput, TextClassifier


class ExitLoss:
    """The loss of a batch: class-weighted cross-entropy, mean over the rows.

    With early exits it is the mean over all exits, weighted by their layer numbers (Kaya et al. 2019).

    With `r_drop` a training batch contains each row twice, and dropout makes the two outputs differ. R-Drop (Liang et
    al. 2021) adds the mean of both Kullback-Leibler divergences times `r_drop`. The alpha of the paper is twice
    `r_drop`, because the paper adds the cross-entropies of both passes and this is their mean.
    """

    def __init__(self, model: TextClassifier, class_weights: Sequence[float] | None, r_drop: float) -> None:
        self._model, self._r_drop = model, r_drop
        self._class_weights = None if class_weights is None else torch.tensor(class_weights)
        self._layers = (*model.exit_layers, int(model.encoder.config.num_hidden_layers))

    def __call__(
        self, outputs: ClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the loss; `num_items_in_batch` is the number of rows on all hosts, duplicates not counted.

        A mean over the rows of each host would overweight the rows of a smaller last batch.
        """
        early = outputs["early"].unbind(dim=1) if self._model.exit_layers else ()
        losses = [self._of_exit(logits.float(), labels) for logits in (*early, outputs["logits"])]
        weighted = [layer * loss for layer, loss in zip(self._layers, losses, strict=True)]
        mean = torch.stack(weighted).sum() / sum(self._layers)
        if num_items_in_batch is None:
            num_items_in_batch = len(labels) // 2 if self._has_duplicates else len(labels)
        return mean / num_items_in_batch

    @property
    def _has_duplicates(self) -> bool:
        return bool(self._r_drop and self._model.training)

    def _of_exit(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weight = None if self._class_weights is None else self._class_weights.to(labels.device)
        loss = torch.nn.functional.cross_entropy(logits, labels, weight=weight, reduction="sum")
        if not self._has_duplicates:
            return loss
        first, second = torch.log_softmax(logits, dim=-1).chunk(2)
        divergence = _divergence(first, second) + _divergence(second, first)
        return loss / 2 + self._r_drop * divergence / 2


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Return the sum over the rows of KL(p || q)."""
    return torch.nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
