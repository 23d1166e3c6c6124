"""Train the micro Whisper from scratch: `python -m kidasr.embedded.pretrain_micro`.

A `WhisperForConditionalGeneration` of about 1.1 million parameters with the special tokens, prefix and generation
settings of an English-only Whisper, a byte-level vocabulary without merges and a window of 3 s. It is trained only on
synthetic *adults* (espeak-ng's voice variants at different pitch and speed, with mild noise; see `synthesis.py`), which are
generated in memory and not kept. So the children of the embedded corpus are new to it, as real children are to Whisper.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn import functional
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from kidasr.embedded import synthesis
from kidasr.embedded.synthesis import MAX_CLIP_SEC, SAMPLING_RATE, Speaker, SynthesisError

DEFAULT_OUTPUT = Path(__file__).parent / "micro_whisper"
WINDOW_SEC = 3
MAX_TOKENS = 64  # decoder positions
UNHEARD_CLIPS = 150  # adult clips held out to measure WER
ADULTS = 2  # split number in random keys; the corpus uses 0, 1 and 3


def build_processor() -> WhisperProcessor:
    """Stock Whisper features (80 mels, 3 s) and a byte-level tokenizer with the special tokens of English Whisper."""
    # As in GPT-2's vocabulary, with which Whisper's begins: printable bytes first, so that the space is token 220.
    tokens = sorted(ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"]
    special += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    vocabulary = {token: number for number, token in enumerate([*tokens, special[0]])}
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=[], pad_token=special[0], extra_special_tokens=special, model_max_length=MAX_TOKENS
    )
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_SEC), tokenizer)


def build_model(processor: WhisperProcessor, seed: int) -> WhisperForConditionalGeneration:
    """A micro Whisper with random weights, configured like an English-only Whisper."""
    tokenizer = processor.tokenizer
    end, start = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    no_timestamps = tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    common = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    begin_suppress_tokens = [tokenizer.convert_tokens_to_ids("Ġ"), end]
    config = WhisperConfig(
        vocab_size=no_timestamps + 1 + WINDOW_SEC * 50 + 1,  # timestamps of 20 ms follow, as in Whisper, untrained
        num_mel_bins=80,
        d_model=128,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=512,
        max_source_positions=WINDOW_SEC * 50,
        max_target_positions=MAX_TOKENS,
        begin_suppress_tokens=begin_suppress_tokens,
        **common,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        max_length=MAX_TOKENS,
        is_multilingual=False,
        no_timestamps_token_id=no_timestamps,
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        max_initial_timestamp_index=50,
        return_timestamps=False,
        suppress_tokens=list(range(start, no_timestamps)),
        begin_suppress_tokens=begin_suppress_tokens,
        alignment_heads=[[config.decoder_layers - 1, head] for head in range(config.decoder_attention_heads)],
        **common,
    )
    return model


def make_adult_clip(seed: int, number: int) -> tuple[str, np.ndarray]:
    """Text and samples of one clip; each clip has its own speaker.

    The voice is played at 0.85 to 1.2 times its speed (speed perturbation, Ko et al., Interspeech 2015) to imitate vocal
    tracts of different lengths.
    """
    for attempt in range(50):
        rng = synthesis.random_generator(seed, ADULTS, number, attempt)
        female = rng.random() < 0.5
        speaker = Speaker(
            speaker_id=f"adult_{number}",
            number=number,
            age=30,
            gender="female" if female else "male",
            voice=str(rng.choice(synthesis.FEMALE_VOICES if female else synthesis.MALE_VOICES)),
            espeak_pitch=int(rng.integers(20, 80)),
            speed_wpm=float(rng.uniform(125, 190)),
            tempo=float(rng.uniform(0.85, 1.2)),
        )
        words = synthesis.random_phrase(rng, int(rng.integers(2, 6)))
        speech = synthesis.say_phrase(speaker, words, rng)
        if len(speech) <= MAX_CLIP_SEC * SAMPLING_RATE:
            break
    else:
        raise SynthesisError(f"no phrase of adult {number} fits into {MAX_CLIP_SEC} s")
    return " ".join(words), synthesis.add_room(speech, rng.uniform(8, 35), None, (), rng)


def make_adults(
    processor: WhisperProcessor, seed: int, numbers: range, processes: int = 1
) -> tuple[torch.Tensor, list[str]]:
    """Log-mel features (clips, 80, frames) and texts of the clips with these numbers."""
    features, texts = [], []
    spoken = synthesis.map_in_processes(partial(make_adult_clip, seed), numbers, processes)
    for text, samples in tqdm(spoken, total=len(numbers), desc="adult clips", unit="clip", dynamic_ncols=True):
        texts.append(text)
        features.append(processor(samples, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features)
    return torch.cat(features), texts


def make_labels(processor: WhisperProcessor, texts: list[str]) -> torch.Tensor:
    """Labels: (clips, tokens), padded with -100."""
    encoded = processor.tokenizer(texts, padding=True, return_tensors="pt")
    labels = encoded.input_ids.masked_fill(encoded.attention_mask == 0, -100)
    return labels[:, 1:]  # the model prepends <|startoftranscript|> itself


def measure_wer(
    model: WhisperForConditionalGeneration, processor: WhisperProcessor, features: torch.Tensor, texts: list[str]
) -> float:
    """Corpus WER (jiwer) of greedy transcripts, as a fraction."""
    with torch.inference_mode():
        tokens = torch.as_tensor(model.generate(input_features=features))
    heard = processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    return jiwer.process_words(texts, [text.strip() for text in heard]).wer


def vary_features(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Shift each clip by a random time: up to half of its trailing silence is moved to its start.

    Without this the decoder learns when a word usually occurs instead of attending to it.
    """
    varied = torch.empty_like(features)
    for number, clip in enumerate(features):
        silent_frames = int((clip.amax(dim=0).flip(0) > clip.min()).int().argmax())
        varied[number] = clip.roll(int(rng.integers(0, silent_frames // 2 + 1)), dims=1)
    return varied


def train(
    model: WhisperForConditionalGeneration,
    features: torch.Tensor,
    labels: torch.Tensor,
    blank: int,
    steps: int,
    seed: int,
    batch_size: int = 32,
    learning_rate: float = 1.5e-3,
) -> None:
    """AdamW, 5% warm-up, linear decay to zero, gradient clipping at 1, and an auxiliary CTC loss on the encoder.

    The CTC head is discarded afterwards. It teaches the encoder to spell, so that the decoder attends rather than guesses
    (joint CTC/attention training, Kim, Hori & Watanabe, ICASSP 2017). `blank` is the token for "no character"; the
    characters' ids are below it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ctc_head = torch.nn.Linear(model.config.d_model, blank + 1)
    parameters = [*model.parameters(), *ctc_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    warmup = max(steps // 20, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(steps - warmup, 1))
    )
    rng = synthesis.random_generator(seed, ADULTS, 0, 0, 1)
    order = np.empty(0, dtype=np.int64)
    model.train()
    progress = tqdm(range(steps), desc="pre-training", unit="step", dynamic_ncols=True)
    for _ in progress:
        if len(order) < min(batch_size, len(features)):
            order = rng.permutation(len(features))
        batch, order = torch.from_numpy(order[:batch_size]), order[batch_size:]
        varied = vary_features(features[batch], rng)
        output = model(input_features=varied, labels=labels[batch])
        log_probs = ctc_head(output.encoder_last_hidden_state).log_softmax(-1).transpose(0, 1)
        characters = (labels[batch] >= 0) & (labels[batch] < blank)
        frames = torch.full((len(batch),), len(log_probs))
        ctc = functional.ctc_loss(log_probs, labels[batch][characters], frames, characters.sum(1), blank=blank)
        loss = output.loss + 0.3 * ctc
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        progress.set_postfix(loss=f"{output.loss.item():.3f}", ctc=f"{ctc.item():.3f}", refresh=False)
    model.eval()


def save(model: WhisperForConditionalGeneration, processor: WhisperProcessor, output: Path) -> None:
    """Write the checkpoint: half-precision weights that `from_pretrained` turns into float32, as config.json asks."""
    model.half().save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)  # transformers makes it readable only by its owner
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    (output / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    processor.save_pretrained(output)
    processor.feature_extractor.save_pretrained(output)  # preprocessor_config.json, for tools that read only that
    (output / "normalizer.json").write_text("{}\n", encoding="utf-8")  # no British spellings to map


def pretrain_micro(output: Path, seed: int = 1, max_steps: int = 1200, clips: int = 6000, threads: int = 2) -> None:
    """Generate the adults, train, and write the checkpoint (fp16) with its processor to a folder."""
    synthesis.check_tools()
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.use_deterministic_algorithms(True)
    processor = build_processor()
    model = build_model(processor, seed)
    features, texts = make_adults(processor, seed, range(clips + UNHEARD_CLIPS), threads)
    labels = make_labels(processor, texts[:clips])
    train(model, features[:clips], labels, processor.tokenizer.eos_token_id, max_steps, seed)
    wer = measure_wer(model, processor, features[clips:], texts[clips:])
    print(f"WER on {UNHEARD_CLIPS} held-out adult clips: {wer:.1%}")
    save(model, build_processor(), output)  # a new processor, since padding is set in the tokenizer of the old one


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m kidasr.embedded.pretrain_micro", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of voices and weights (default: %(default)s)")
    parser.add_argument("--max-steps", type=int, default=1200, help="optimizer steps of 32 clips (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=6000, help="adult clips to train on (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads and processes to use (default: %(default)s)")
    options = parser.parse_args(arguments)
    for name, least in (("max_steps", 1), ("clips", 1), ("threads", 1), ("seed", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    try:
        pretrain_micro(options.output, options.seed, options.max_steps, options.clips, options.threads)
    except (SynthesisError, OSError) as error:
        sys.exit(f"pretrain_micro: {error}")


if __name__ == "__main__":
    main()
