"""The loop: batches in, a sealed bundle out; killed at any line, it goes on from its last whole checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from evertune import files
from evertune.jobs import CancelledError
from evertune.models import bundle, devices, forward
from evertune.project.options import Project
from evertune.records import JsonObject, UnfitError
from evertune.tuning import batches, calibration, checkpoints, hardware, methods, validation
from evertune.tuning.memory import Preflight, preflight, shortage_told
from evertune.tuning.records import Progress, TuningResult
from evertune.tuning.state import State

__all__ = ["Preflight", "Progress", "TuningResult", "preflight", "train"]

Report = Callable[[Progress], None]
_REPORT_S = 0.5
_CURVE_POINTS = 60
_CLIP = 1.0
"""Largest norm of a step's gradient, as in transformers.Trainer."""


def train(  # noqa: PLR0917 - the job calls it so
    project: Project,
    dataset: Path,
    base: Path,
    work: Path,
    out: Path,
    report: Report,
    cancelled: Callable[[], bool],
) -> TuningResult:
    """Tune ``base`` on the prepared ``dataset`` and write the sealed bundle at ``out``.

    Goes on from the newest checkpoint below ``work`` that verifies and was made from the same inputs. Raises
    :class:`CancelledError` where ``cancelled()`` says so, which is asked before each step,
    :class:`EvertuneError` where the disk is full, and :class:`UnfitError` where memory runs out.
    """
    with shortage_told(project, lambda: int(batches.load(dataset, "train").lengths.max())):
        tuning = Tuning(project, dataset, base, work / "checkpoints", report=report, cancelled=cancelled)
        tuning.resume()
        tuning.run()
        return tuning.write(base, out)


class Tuning:
    """One tuning in this process: the model, its optimiser, its rows, and where it stands."""

    def __init__(
        self,
        project: Project,
        dataset: Path,
        base: Path,
        home: Path,
        *,
        report: Report,
        cancelled: Callable[[], bool],
    ) -> None:
        self.project, self.options, self.home = project, project.tuning, home
        self.labels: list[str] = files.read_json(dataset / "labels.json")
        self.train, self.validation = batches.load(dataset, "train"), batches.load(dataset, "validation")
        self.device = devices.best()
        self.precision = hardware.precision(self.options.precision, self.device)
        torch.set_flush_denormal(True)
        self.model = methods.build(base, self.labels, self.options, self.device)
        self.parameters = methods.trainable(self.model)
        self.optimiser = methods.optimiser(self.model, self.options)
        weights = self.train.class_weights(len(self.labels)) if self.options.class_weights else None
        self.class_weights = None if weights is None else torch.from_numpy(weights).to(self.device)
        self.inputs = self._inputs(dataset, base)
        self.state = State()
        self.best: dict[str, Tensor] = {}
        self._report, self._cancelled = report, cancelled
        self._told = self._saved = self._ticked = self._began = time.monotonic()
        self._fresh_tokens = 0
        self._rate = 0.0
        self._per_epoch = len(self._plan(0))

    def _inputs(self, dataset: Path, base: Path) -> str:
        # What a checkpoint must have been made from, for this tuning to go on from it.
        return files.hash_of({
            "dataset": files.digest(dataset),
            "base": files.digest(base),
            "options": self.options.model_dump(mode="json", exclude={"checkpoint_s"}),
            "precision": str(self.precision),
            "device": self.device.type,
            **{name: version(name) for name in ("torch", "transformers", "peft")},
        })  # fmt: skip

    def _plan(self, epoch: int) -> list[batches.Integers]:
        return batches.plan(self.train.lengths, self.options.tokens_per_batch, self.options.seed, epoch)

    # -- the loop

    def run(self) -> None:
        """All epochs, or fewer where the validation loss no longer falls."""
        state = self.state
        self._tell("tune", force=True)
        while state.epoch < self.options.epochs and not state.stopped:
            plan = self._plan(state.epoch)
            count = self.options.evaluations_per_epoch
            marks = {-(-len(plan) * (part + 1) // count) for part in range(count)}
            while state.batch < len(plan) and not state.stopped:
                if self._cancelled():
                    raise CancelledError(f"Tuning of {self.project.slug} was cancelled at step {state.step}.")
                self._step(plan)
                if state.batch in marks:
                    self._evaluate()
                self._save_when_due()
                self._tell("tune")
            state.epoch, state.batch = state.epoch + 1, 0

    def _step(self, plan: list[batches.Integers]) -> None:
        state, picked = self.state, plan[self.state.batch]
        rate = self._rate = methods.learning_rate(self.options, state.epoch + (state.batch + 0.5) / len(plan))
        methods.set_rate(self.optimiser, rate)
        truth = torch.from_numpy(self.train.truth[picked]).to(self.device)
        with validation.autocast(self.device, self.precision):
            logits = forward.logits(self.model, self.train.ids(picked))
        summed = cross_entropy(logits.float(), truth, weight=self.class_weights, reduction="sum")
        # Divided by the mean number of rows, not this batch's: every row of the epoch then weighs the same.
        loss = summed * (len(plan) / len(self.train))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self._count(float(summed.detach()) / len(picked), int(self.train.lengths[picked].sum()))

    def _count(self, loss: float, tokens: int) -> None:
        state = self.state
        if not np.isfinite(loss):
            raise UnfitError(
                f"The training loss is {loss} at step {state.step}. Lower tuning.learning_rate "
                f"({self.options.learning_rate:g}), or set tuning.precision to fp32."
            )
        state.batch, state.step = state.batch + 1, state.step + 1
        state.tokens += tokens
        self._fresh_tokens += tokens
        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
        self._tick()
        if state.step % max(1, self.options.epochs * self._per_epoch // _CURVE_POINTS) == 0:
            state.curve.append({"step": state.step, "loss": state.take_loss(), "learning_rate": self._rate})

    def _tick(self) -> None:
        now = time.monotonic()
        self.state.seconds, self._ticked = self.state.seconds + now - self._ticked, now

    def _evaluate(self) -> None:
        state = self.state
        self._tell("validate", force=True)
        quality = self._quality()
        state.validation_loss, state.f1 = quality.loss, quality.f1
        if not state.curve or state.curve[-1]["step"] != state.step:
            state.curve.append({"step": state.step, "loss": state.take_loss(), "learning_rate": self._rate})
        state.curve[-1] |= {"validation_loss": quality.loss, "f1": quality.f1}
        if state.best_loss is None or quality.loss < state.best_loss:
            state.best_loss, state.best_step, state.without_gain = quality.loss, state.step, 0
            self.best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        else:
            state.without_gain += 1
        patience = self.options.early_stopping
        state.stopped = patience is not None and state.without_gain >= patience
        self._tick()
        self._tell("tune", force=True)

    def _quality(self) -> validation.Quality:
        budget = 2 * self.options.tokens_per_batch
        return validation.measure(self.model, self.validation, len(self.labels), budget, self.precision)

    # -- what is told and kept on the way

    def _tell(self, phase: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._told < _REPORT_S:
            return
        self._told, state = now, self.state
        epoch = state.epoch + min(1.0, state.batch / self._per_epoch)
        steps = max(self.options.epochs * self._per_epoch, state.step)
        speed = self._fresh_tokens / max(now - self._began, 1e-9)
        tokens_left = max(0, self.options.epochs * self.train.tokens - state.tokens)
        known = [entry["loss"] for entry in state.curve]
        recent = state.loss_sum / state.loss_steps if state.loss_steps else known[-1] if known else None
        self._report(Progress(
            phase=phase, step=state.step, steps=steps, epoch=epoch, loss=recent, validation_loss=state.validation_loss,
            f1=state.f1, learning_rate=self._rate, tokens_per_s=speed,
            seconds_left=tokens_left / speed if self._fresh_tokens else None,
        ))  # fmt: skip

    def _save_when_due(self) -> None:
        if time.monotonic() - self._saved >= self.options.checkpoint_s:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self._tick()
        held = checkpoints.gather(self.parameters, self.optimiser)
        held |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        value: JsonObject = self.state.dump() | {"inputs": self.inputs}
        checkpoints.save(self.home, self.state.step, held, value)
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the newest checkpoint, where there is one."""
        found = checkpoints.newest(self.home, self.inputs)
        if found is None:
            return
        checkpoints.restore(found.tensors, self.parameters, self.optimiser)
        self.state = State.read(found.state)
        kept = {name.removeprefix("best."): value for name, value in found.tensors.items() if name.startswith("best.")}
        self.best = {name: value.clone().to(self.device) for name, value in kept.items()}

    def write(self, base: Path, out: Path) -> TuningResult:
        """The best weights, calibrated and merged, as a bundle."""
        self._tell("write", force=True)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self.best[name])
        temperature = calibration.temperature(self._quality().logits, self.validation.truth)
        with checkpoints.full_disk_told(out):
            digest = bundle.write(
                out,
                methods.finished(self.model),
                base,
                self.labels,
                self.project.preparation.max_tokens,
                language=self.project.language,
                redaction=self.project.data.redaction,
                temperature=temperature,
            )
        self._tick()
        state = self.state
        return TuningResult(
            digest=digest,
            seconds=state.seconds,
            steps=state.step,
            tokens=state.tokens,
            curve=state.curve,
            precision="bf16" if self.precision is torch.bfloat16 else "fp32",
            temperature=temperature,
            best_step=state.best_step,
        )
