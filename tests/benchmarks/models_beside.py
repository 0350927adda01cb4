"""Public code for the models that hwbench trains, with hwbench's weights: Hugging Face transformers, and torch's own layers.

Each function takes hwbench's built step and returns the other's, a module and its loss on the same inputs, at its fastest honest setting:
sdpa attention, no cache, no dropout, the same activation in its fused form, only the positions that the loss needs.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[], Tensor]


class Other(NamedTuple):
    name: str
    setting: str
    module: nn.Module
    loss: Loss


def library() -> Any:
    """Hugging Face transformers, which only this benchmark needs."""
    return importlib.import_module("transformers")


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def copy(pairs: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)


def split_heads(tensor: Tensor, heads: int, parts: int) -> list[Tensor]:
    """Rows in the order (head, part, d) as `parts` tensors in the order (head, d)."""
    return [part.flatten(0, 1) for part in tensor.view(heads, parts, -1, *tensor.shape[1:]).unbind(1)]


def gpt2(config: Any, step: Any, attention: str) -> Other:
    settings = library().GPT2Config(
        vocab_size=config.vocabulary, n_positions=config.positions or config.seq_len, n_embd=config.hidden, n_layer=config.layers,
        n_head=config.heads, activation_function="gelu_pytorch_tanh", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        use_cache=False, attn_implementation=attention, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs, ours = library().GPT2LMHeadModel(settings), step.module
    copy([(theirs.transformer.wte.weight, ours.embed.tokens.weight), (theirs.transformer.wpe.weight, ours.embed.positions.weight)])
    for block, layer in zip(theirs.transformer.h, ours.layers, strict=True):
        for mine, name in ((layer.attention.qkv.weight, "weight"), (layer.attention.qkv.bias, "bias")):
            whole = torch.cat(split_heads(mine, config.heads, 3))
            copy([(getattr(block.attn.c_attn, name), whole.t() if name == "weight" else whole)])
        for conv, linear in ((block.attn.c_proj, layer.attention.out), (block.mlp.c_fc, layer.mlp.up), (block.mlp.c_proj, layer.mlp.down)):
            copy([(conv.weight, linear.weight.t()), (conv.bias, linear.bias)])
        block.ln_1.load_state_dict(layer.attention_norm.state_dict())
        block.ln_2.load_state_dict(layer.mlp_norm.state_dict())
    theirs.transformer.ln_f.load_state_dict(ours.head.norm.state_dict())
    tokens, targets = step.inputs
    return Other(
        "transformers GPT2LMHeadModel", f"{attention}, use_cache=False, gelu_pytorch_tanh", theirs,
        lambda: cross_entropy(theirs(input_ids=tokens).logits, targets),
    )  # fmt: skip


def bert(config: Any, step: Any, attention: str) -> Other:
    settings = library().BertConfig(
        vocab_size=config.vocabulary, hidden_size=config.hidden, num_hidden_layers=config.layers, num_attention_heads=config.heads,
        intermediate_size=config.mlp or 4 * config.hidden, max_position_embeddings=config.positions or config.seq_len,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation=attention, hidden_act="gelu",
    )  # fmt: skip
    theirs, ours = library().BertForMaskedLM(settings), step.module
    table = theirs.bert.embeddings
    copy([(table.word_embeddings.weight, ours.embed.tokens.weight), (table.position_embeddings.weight, ours.embed.positions.weight)])
    copy([(table.token_type_embeddings.weight, ours.embed.segments.weight)])
    table.LayerNorm.load_state_dict(ours.embed.norm.state_dict())
    for block, layer in zip(theirs.bert.encoder.layer, ours.layers, strict=True):
        projections = block.attention.self.query, block.attention.self.key, block.attention.self.value
        weights, biases = (split_heads(t, config.heads, 3) for t in (layer.attention.qkv.weight, layer.attention.qkv.bias))
        for linear, weight, bias in zip(projections, weights, biases, strict=True):
            copy([(linear.weight, weight), (linear.bias, bias)])
        pairs = (
            (block.attention.output.dense, layer.attention.out), (block.attention.output.LayerNorm, layer.attention_norm),
            (block.intermediate.dense, layer.mlp.up), (block.output.dense, layer.mlp.down), (block.output.LayerNorm, layer.mlp_norm),
        )  # fmt: skip
        for part, mine in pairs:
            part.load_state_dict(mine.state_dict())
    head = theirs.cls.predictions
    head.transform.dense.load_state_dict(ours.head.dense.state_dict())
    head.transform.LayerNorm.load_state_dict(ours.head.norm.state_dict())
    copy([(head.bias, ours.head.projection.bias)])
    tokens, positions, targets = step.inputs
    length = tokens.shape[1]
    segments = (torch.arange(length) * 2 // length).expand_as(tokens)
    rows = torch.arange(len(tokens)).unsqueeze(1)

    def loss() -> Tensor:
        last = theirs.bert(input_ids=tokens, token_type_ids=segments).last_hidden_state
        return cross_entropy(theirs.cls(last[rows, positions]), targets)

    return Other("transformers BertForMaskedLM", f"{attention}, its head at the masked positions only", theirs, loss)


def llama(config: Any, step: Any, attention: str) -> Other:
    settings = library().LlamaConfig(
        vocab_size=config.vocabulary, hidden_size=config.hidden, intermediate_size=config.mlp, num_hidden_layers=config.layers,
        num_attention_heads=config.heads, num_key_value_heads=config.kv_heads, max_position_embeddings=config.seq_len, rms_norm_eps=1e-5,
        rope_parameters={"rope_theta": config.rope_theta, "rope_type": "default"}, use_cache=False, tie_word_embeddings=config.tied,
        attn_implementation=attention, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs, ours = library().LlamaForCausalLM(settings), step.module
    width = config.hidden // config.heads

    def halves(weight: Tensor) -> Tensor:
        """Rows of neighbouring pairs as rows of two halves: how transformers turns positions."""
        return weight.view(-1, width // 2, 2, weight.shape[1]).transpose(1, 2).flatten(0, 2)

    copy([(theirs.model.embed_tokens.weight, ours.embed.tokens.weight), (theirs.lm_head.weight, ours.head.projection.weight)])
    copy([(theirs.model.norm.weight, ours.head.norm.weight)])
    for block, layer in zip(theirs.model.layers, ours.layers, strict=True):
        mine, part = layer.attention, block.self_attn
        copy([(part.q_proj.weight, halves(mine.query.weight)), (part.k_proj.weight, halves(mine.key.weight))])
        copy([(part.v_proj.weight, mine.value.weight), (part.o_proj.weight, mine.out.weight)])
        copy([(block.mlp.gate_proj.weight, layer.mlp.gate.weight), (block.mlp.up_proj.weight, layer.mlp.up.weight)])
        copy([(block.mlp.down_proj.weight, layer.mlp.down.weight), (block.input_layernorm.weight, layer.attention_norm.weight)])
        copy([(block.post_attention_layernorm.weight, layer.mlp_norm.weight)])
    tokens, targets = step.inputs
    return Other(
        "transformers LlamaForCausalLM", f"{attention}, use_cache=False", theirs,
        lambda: cross_entropy(theirs(input_ids=tokens).logits, targets),
    )  # fmt: skip


def t5(config: Any, step: Any, attention: str) -> Other:
    settings = library().T5Config(
        vocab_size=config.vocabulary, d_model=config.hidden, d_kv=config.head_dim, d_ff=config.mlp, num_layers=config.layers,
        num_decoder_layers=config.layers, num_heads=config.heads, relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.farthest, dropout_rate=0.0, layer_norm_epsilon=1e-6, feed_forward_proj="relu",
        use_cache=False, attn_implementation=attention, tie_word_embeddings=True, scale_decoder_outputs=True, decoder_start_token_id=0,
    )  # fmt: skip
    theirs, ours = library().T5ForConditionalGeneration(settings), step.module
    encoder, decoder = list(ours.layers)[: config.layers], list(ours.layers)[config.layers + 1 :]
    copy([(theirs.shared.weight, ours.embed.tokens.weight)])
    copy([(theirs.encoder.final_layer_norm.weight, ours.layers[config.layers].norm.weight)])
    copy([(theirs.decoder.final_layer_norm.weight, ours.head.norm.weight)])
    for stack, bias in ((theirs.encoder, ours.embed.source_bias), (theirs.decoder, ours.embed.target_bias)):
        copy([(stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight, bias.weight)])
    for block, layer in [*zip(theirs.encoder.block, encoder, strict=True), *zip(theirs.decoder.block, decoder, strict=True)]:
        part, mine = block.layer[0].SelfAttention, layer.attention.function
        copy(list(zip((part.q.weight, part.k.weight, part.v.weight), split_heads(mine.qkv.weight, config.heads, 3), strict=True)))
        copy([(part.o.weight, mine.out.weight), (block.layer[0].layer_norm.weight, layer.attention.norm.weight)])
        if hasattr(layer, "cross"):
            part, mine = block.layer[1].EncDecAttention, layer.cross.function
            copy(list(zip((part.k.weight, part.v.weight), split_heads(mine.memory.weight, config.heads, 2), strict=True)))
            copy([(part.q.weight, mine.query.weight), (part.o.weight, mine.out.weight)])
            copy([(block.layer[1].layer_norm.weight, layer.cross.norm.weight)])
        last = block.layer[-1]
        copy(
            [(last.DenseReluDense.wi.weight, layer.mlp.function.up.weight), (last.DenseReluDense.wo.weight, layer.mlp.function.down.weight)]
        )
        copy([(last.layer_norm.weight, layer.mlp.norm.weight)])
    source, target, following = step.inputs
    return Other(
        "transformers T5ForConditionalGeneration", f"{attention}, use_cache=False", theirs,
        lambda: cross_entropy(theirs(input_ids=source, decoder_input_ids=target).logits, following),
    )  # fmt: skip


class LSTMExample(nn.Module):
    """The word language model of torch's examples: sequences along the second dimension, as it has them."""

    def __init__(self, vocabulary: int, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder, self.rnn = nn.Embedding(vocabulary, width), nn.LSTM(width, hidden, layers)
        self.decoder = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (s, b, V) of tokens (s, b)."""
        logits: Tensor = self.decoder(self.rnn(self.encoder(tokens))[0])
        return logits


def lstm_lm(config: Any, step: Any, attention: str) -> Other:
    theirs, ours = LSTMExample(config.vocabulary, config.embedding, config.hidden, config.layers), step.module
    theirs.encoder.load_state_dict(ours.embed.tokens.state_dict())
    theirs.rnn.load_state_dict(ours.layers[0].lstm.state_dict())
    theirs.decoder.load_state_dict(ours.head.projection.state_dict())
    tokens, targets = (t.t().contiguous() for t in step.inputs)
    return Other("torch nn.LSTM, as in its word language model", "sequence first", theirs, lambda: cross_entropy(theirs(tokens), targets))


class CellExample(nn.Module):
    """The recurrent network of torch's tutorials, a Linear of [x, h] a step, with the sigmoid cell."""

    def __init__(self, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.table, self.i2h, self.decoder = (
            nn.Embedding(vocabulary, width),
            nn.Linear(hidden + width, hidden),
            nn.Linear(hidden, vocabulary),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (b, s, V)."""
        rows, outputs = self.table(tokens), []
        state = rows.new_zeros(len(tokens), self.i2h.out_features)
        for t in range(tokens.shape[1]):
            state = torch.sigmoid(self.i2h(torch.cat([state, rows[:, t]], 1)))
            outputs.append(state)
        logits: Tensor = self.decoder(torch.stack(outputs, 1))
        return logits


def rnn_lm(config: Any, step: Any, attention: str) -> Other:
    theirs, ours = CellExample(config.vocabulary, config.embedding, config.hidden), step.module
    theirs.table.load_state_dict(ours.embed.tokens.state_dict())
    theirs.i2h.load_state_dict(ours.layers[0].cell.state_dict())
    theirs.decoder.load_state_dict(ours.head.projection.state_dict())
    tokens, targets = step.inputs
    return Other("torch nn.Linear a step, as in its tutorial", "sigmoid cell", theirs, lambda: cross_entropy(theirs(tokens), targets))


class PairExample(nn.Module):
    """An nn.LSTM that reads the source, an nn.LSTM that says the target from the first one's last state."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.source, self.target = (nn.Embedding(config.vocabulary, config.embedding) for _ in range(2))
        self.encoder, self.decoder = (nn.LSTM(config.embedding, config.hidden, config.layers) for _ in range(2))
        self.projection = nn.Linear(config.hidden, config.vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (t, b, V) of source (s, b) and target (t, b)."""
        _, state = self.encoder(self.source(source))
        logits: Tensor = self.projection(self.decoder(self.target(target), state)[0])
        return logits


def seq2seq(config: Any, step: Any, attention: str) -> Other:
    theirs, ours = PairExample(config), step.module
    theirs.source.load_state_dict(ours.embed.tokens.state_dict())
    theirs.target.load_state_dict(ours.layers[1].table.state_dict())
    theirs.encoder.load_state_dict(ours.layers[0].lstm.state_dict())
    theirs.decoder.load_state_dict(ours.layers[1].lstm.state_dict())
    theirs.projection.load_state_dict(ours.head.projection.state_dict())
    source, target, following = (t.t().contiguous() for t in step.inputs)
    return Other("torch nn.LSTM twice", "sequence first", theirs, lambda: cross_entropy(theirs(source, target), following))


class TransformerExample(nn.Module):
    """torch's nn.Transformer between one table and its projection."""

    def __init__(self, config: Any, places: Tensor) -> None:
        super().__init__()
        self.table, self.scale, self.places = nn.Embedding(config.vocabulary, config.hidden), math.sqrt(config.hidden), places
        self.body = nn.Transformer(config.hidden, config.heads, config.layers, config.layers, config.mlp, 0.0, batch_first=True)
        self.body.encoder.norm = self.body.decoder.norm = None  # the paper has no norms behind the stacks
        self.mask = nn.Transformer.generate_square_subsequent_mask(config.target_len)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Logits (b, t, V)."""
        x, y = (self.table(ids) * self.scale + self.places[: ids.shape[1]] for ids in (source, target))
        return functional.linear(self.body(x, y, tgt_mask=self.mask, tgt_is_causal=True), self.table.weight)


def transformer(config: Any, step: Any, attention: str) -> Other:
    ours = step.module
    theirs = TransformerExample(config, ours.embed.table)
    theirs.table.load_state_dict(ours.embed.tokens.state_dict())
    for layer, block in zip(ours.layers, [*theirs.body.encoder.layers, *theirs.body.decoder.layers], strict=True):
        mine, part = layer.attention.function, block.self_attn
        copy([(part.in_proj_weight, torch.cat(split_heads(mine.qkv.weight, config.heads, 3)))])
        copy([(part.in_proj_bias, torch.cat(split_heads(mine.qkv.bias, config.heads, 3)))])
        part.out_proj.load_state_dict(mine.out.state_dict())
        norms = [layer.attention, layer.mlp]
        if hasattr(layer, "cross"):
            mine, part = layer.cross.function, block.multihead_attn
            copy([(part.in_proj_weight, torch.cat([mine.query.weight, *split_heads(mine.memory.weight, config.heads, 2)]))])
            copy([(part.in_proj_bias, torch.cat([mine.query.bias, *split_heads(mine.memory.bias, config.heads, 2)]))])
            part.out_proj.load_state_dict(mine.out.state_dict())
            norms.insert(1, layer.cross)
        block.linear1.load_state_dict(layer.mlp.function.up.state_dict())
        block.linear2.load_state_dict(layer.mlp.function.down.state_dict())
        for i, residual in enumerate(norms, 1):
            getattr(block, f"norm{i}").load_state_dict(residual.norm.state_dict())
    source, target, following = step.inputs
    return Other("torch nn.Transformer", "batch first, causal hint", theirs, lambda: cross_entropy(theirs(source, target), following))


BESIDE: dict[str, Callable[[Any, Any, str], Other]] = {
    "gpt": gpt2,
    "bert": bert,
    "llama": llama,
    "t5": t5,
    "lstm_lm": lstm_lm,
    "rnn_lm": rnn_lm,
    "seq2seq": seq2seq,
    "transformer": transformer,
}
