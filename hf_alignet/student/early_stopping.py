"""Early stopping."""

from typing import Any

from transformers import EarlyStoppingCallback


class EarlyStopping(EarlyStoppingCallback):
    """Stops after `early_stopping_patience` evaluations in a row that are no better than the best one.

    Evaluations during warm-up do not count: the learning rate is still small, so that no improvement says little. A
    run that is resumed continues the count of its checkpoint.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        # Trainer saves the state of callbacks, but restores it only on demand. It fails to save a state that the
        # checkpoint of a run without this callback lacks.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        counter = "early_stopping_patience_counter"
        self.early_stopping_patience_counter = saved["attributes"][counter] if state.global_step else 0

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        # Of several held-out sets, each alone lacks the metric, which is their mean
        if name in metrics and state.global_step > args.get_warmup_steps(state.max_steps):
            super().on_evaluate(args, state, control, metrics, **kwargs)
