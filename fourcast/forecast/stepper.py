"""Calls of the model for the members of a batch: normalised states, one step at a time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fourcast.forecast.batching import Batch, Batching, Call, divided
from fourcast.forecast.dropout import drawing, make_keyed
from fourcast.forecast.forecaster import Forecaster
from fourcast.forecast.graph import Captured
from fourcast.models.precipitation import precipitation
from fourcast.noise import normal_fields

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
Keys = Sequence[tuple[int, int, int, int]]
Wait = Callable[[], None]
Start = Callable[[Callable[[int], None], int], Wait]


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields of members in physical units [M, C, H, W], and which of them are finite throughout [M, C]."""

    values: Tensor
    finite: Tensor


class Stepper:
    """A model and a batch of its members; ``calls`` may run side by side, each once a step.

    home: where states and fields of all members are; those of a call come to the model's device. dropout: every
    member draws dropout anew at every step; InputError where the model knows none.
    """

    def __init__(
        self, forecaster: Forecaster, batch: Batch, batching: Batching, home: torch.device, dropout: bool = False
    ) -> None:
        if dropout:
            make_keyed(forecaster.model)
        self.forecaster, self.batch, self.home, self.dropout = forecaster, batch, home, dropout
        self.calls = tuple(_Rows.of(call, home, forecaster.device) for call in divided(batch.places, batching))
        self.center, self.scale = (
            torch.from_numpy(numbers).to(forecaster.device) for numbers in (forecaster.center, forecaster.scale)
        )

    def advance(self, state_MCHW: Tensor, step: int, call: int) -> None:
        """Bring the members of a call from ``step`` - 1 to ``step``, in place."""
        rows = self.calls[call]
        numbers = [self.batch.numbers[row] for row in rows.call.rows]
        keys = [(self.batch.seed, self.batch.hours, number, step) for number in numbers]
        with torch.inference_mode(), self._drawing(rows.call, keys):
            x = self._with_noise(self._filled(state_MCHW, rows), rows.call, keys)
            y = self._run("model", self.forecaster.model, x)
            state_MCHW.index_copy_(0, rows.rows, y.index_select(0, rows.slots).to(state_MCHW.device))

    def room(self, state_MCHW: Tensor) -> Fields:
        """Room for the fields of all members."""
        shape = len(state_MCHW), len(self.forecaster.outputs)
        return Fields(
            state_MCHW.new_empty((*shape, *state_MCHW.shape[2:])), state_MCHW.new_empty(shape, dtype=torch.bool)
        )

    def diagnose(self, state_MCHW: Tensor, into: Fields, call: int) -> None:
        """Put into ``into`` the fields of a call's members: their states and, behind these, precipitation."""
        rows = self.calls[call]
        with torch.inference_mode():
            state = self._filled(state_MCHW, rows)
            fields = state * self.scale + self.center
            if self.forecaster.precipitation is not None:
                logarithm = self._run("precipitation", self.forecaster.precipitation, state)
                fields = torch.cat([fields, precipitation(logarithm)], dim=1)
            fields = fields.index_select(0, rows.slots)
            finite = (fields * 0).sum((2, 3)) == 0  # nan where any is not
            into.values.index_copy_(0, rows.rows, fields.to(into.values.device))
            into.finite.index_copy_(0, rows.rows, finite.to(into.finite.device))

    def _filled(self, state_MCHW: Tensor, rows: "_Rows") -> Tensor:
        """The states in all slots of a call, on the model's device."""
        return state_MCHW.index_select(0, rows.filled).to(self.forecaster.device)

    def _with_noise(self, x: Tensor, call: Call, keys: Keys) -> Tensor:
        channels = self.forecaster.card.model.noise_channels
        if channels == 0:
            return x
        noise = torch.from_numpy(normal_fields(keys, (channels, *x.shape[2:])))[list(call.sources)]
        if x.is_cuda:
            noise = noise.pin_memory()
        return torch.cat([x, noise.to(x.device, non_blocking=True)], dim=1)

    def _drawing(self, call: Call, keys: Keys) -> AbstractContextManager[None]:
        return drawing([keys[source] for source in call.sources]) if self.dropout else nullcontext()

    def _run(self, name: str, model: nn.Module, x: Tensor) -> Tensor:
        """The model's result for ``x`` in float32; on a GPU it is overwritten by the next call."""
        compute = partial(computed, model, self.forecaster.precision)
        if not x.is_cuda or (self.dropout and name == "model"):
            return compute(x)
        graphs = self.forecaster.graphs
        key = (name, len(x))
        if key not in graphs:
            graphs[key] = Captured(compute, x, next(iter(graphs.values()), None))
        return graphs[key](x)


@dataclass(frozen=True, eq=False)
class _Rows:
    """A call, and as tensors: its rows of the batch, their slots, and the row that fills each slot."""

    call: Call
    rows: Tensor
    slots: Tensor
    filled: Tensor

    @staticmethod
    def of(call: Call, home: torch.device, device: torch.device) -> "_Rows":
        rows, filled = (torch.tensor(n, device=home) for n in (call.rows, [call.rows[i] for i in call.sources]))
        return _Rows(call, rows, torch.tensor(call.slots, device=device), filled)


def computed(model: nn.Module, precision: str, x: Tensor) -> Tensor:
    """What a model makes of ``x``, with products in ``precision`` (fp32, bf16 or fp16), in float32."""
    with torch.autocast(x.device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST):
        y: Tensor = model(x)
    return y.float()


@contextmanager
def side_by_side(device: torch.device, batching: Batching) -> Iterator[Start]:
    """A function that starts work on every call: in exact mode on a CPU several at once, each on a core of its own.

    Work on a call begins when what was started on it before is done. The function returns another, which waits for
    all that this start began and raises what failed.
    """
    if device.type != "cpu" or not batching.exact:
        yield _in_turn
        return
    earlier: dict[int, Future[None]] = {}
    try:
        with ThreadPoolExecutor(batching.threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield partial(_submit, pool, earlier)
    finally:
        torch.set_num_threads(torch.get_num_threads())  # what a worker set was for every thread that is yet to come


def _in_turn(work: Callable[[int], None], calls: int) -> Wait:
    for call in range(calls):
        work(call)
    return _nothing


def _submit(pool: Executor, earlier: dict[int, Future[None]], work: Callable[[int], None], calls: int) -> Wait:
    for call in range(calls):
        earlier[call] = pool.submit(_after, earlier.get(call), work, call)
    return partial(_results, [earlier[call] for call in range(calls)])


def _after(before: Future[None] | None, work: Callable[[int], None], call: int) -> None:
    if before is not None:
        before.result()
    work(call)


def _results(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()


def _nothing() -> None:
    """Nothing to wait for."""
