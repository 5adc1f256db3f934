"""`python -m tools.demo_models.train`: train the two demo models on two CPU cores, in minutes."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from tools.demo_models.card import Record, write_card
from tools.demo_models.corpus import conversations
from tools.demo_models.examples import guard_examples, reasoner_examples
from tools.demo_models.guard_corpus import judgements
from tools.demo_models.tokenizer import guard_tokenizer, reasoner_tokenizer
from tools.demo_models.training import Options, Outcome, tiny_llama, train
from tools.demo_models.trials import guard_accuracy, reasoner_behaviour

THREADS = 2
WIDTH, LAYERS = 160, 4
OPENING_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many generated items each part of the work takes."""

    reasoner_openings: int = 30_000
    reasoner_whole: int = 9_000
    guard_without_policy: int = 12_000
    guard_with_policy: int = 3_000
    trial_prompts: int = 120
    guard_trial: int = 3_000


def report(sentence: str) -> None:
    print(sentence, flush=True)


def train_reasoner(output: Path, seed: int, sizes: Sizes = Sizes()) -> Record:
    """Train `demo-reasoner`, save it under `output`, try it on held-out prompts."""
    count = sizes.reasoner_openings + sizes.reasoner_whole
    report(f"Generating {count:,} conversations for demo-reasoner.")
    set_seed(seed)
    items = list(conversations(seed, count))
    tokenizer = reasoner_tokenizer(f"{item.request.text}\n{item.response}" for item in items)
    model = tiny_llama(tokenizer, WIDTH, LAYERS)
    openings = list(reasoner_examples(tokenizer, items[: sizes.reasoner_openings], OPENING_TOKENS))
    whole = list(reasoner_examples(tokenizer, items[sizes.reasoner_openings :]))
    outcomes = (
        train(model, openings, Options(learning_rate=4e-3, floor=0.4, seed=seed), report),
        train(model, whole, Options(learning_rate=2e-3, seed=seed), report),
    )
    folder = output / "demo-reasoner"
    save(model, tokenizer, folder, {"do_sample": True, "temperature": 0.6, "top_p": 0.95})
    report("Sampling the reasoner on held-out prompts.")
    measured = reasoner_behaviour(model, tokenizer, seed, sizes.trial_prompts)
    return _record("demo-reasoner", folder, seed, count, model, outcomes, measured)


def train_guard(output: Path, seed: int, sizes: Sizes = Sizes()) -> Record:
    """Train `demo-guard`, first without the policy text and then with it; save it, and judge held-out items."""
    count = sizes.guard_without_policy + sizes.guard_with_policy
    report(f"Generating {count:,} judgements for demo-guard.")
    set_seed(seed)
    items = list(judgements(seed, count))
    tokenizer = guard_tokenizer(f"{item.prompt}\n{item.response}{item.output}" for item in items)
    model = tiny_llama(tokenizer, WIDTH, LAYERS)
    short = list(guard_examples(tokenizer, items[: sizes.guard_without_policy], with_policy=False))
    whole = list(guard_examples(tokenizer, items[sizes.guard_without_policy :], with_policy=True))
    outcomes = (
        train(model, short, Options(learning_rate=4e-3, floor=0.25, seed=seed), report),
        train(model, whole, Options(learning_rate=1e-3, seed=seed), report),
    )
    folder = output / "demo-guard"
    save(model, tokenizer, folder, {"do_sample": False})
    report("Judging held-out items.")
    measured = guard_accuracy(model, tokenizer, list(judgements(seed + 1, sizes.guard_trial, "held_out")))
    return _record("demo-guard", folder, seed, count, model, outcomes, measured)


def save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, generation: dict[str, object]
) -> None:
    """Write the Hugging Face folder in half precision; `model` keeps the rounded weights, in float32."""
    model.generation_config.update(**generation)
    model.half().save_pretrained(folder)
    model.float()
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def _record(
    name: str,
    folder: Path,
    seed: int,
    examples: int,
    model: LlamaForCausalLM,
    outcomes: tuple[Outcome, ...],
    measured: dict[str, float],
) -> Record:
    record = Record(
        model=name,
        seed=seed,
        examples=examples,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocabulary=model.config.vocab_size,
        threads=torch.get_num_threads(),
        training=tuple(asdict(outcome) for outcome in outcomes),
        measured={key: round(value, 4) for key, value in measured.items()},
    )
    write_card(folder, record)
    report(f"{name} is in {folder}: {', '.join(f'{key} {value}' for key, value in record.measured.items())}.")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "models", help="where the folders go")
    parser.add_argument("--only", choices=("reasoner", "guard"), help="train one of the two")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.only != "guard":
        train_reasoner(arguments.output, arguments.seed)
    if arguments.only != "reasoner":
        train_guard(arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
