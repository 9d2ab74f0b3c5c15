"""Texts reach the program as their tokenizer's numbers, and short ones hardly pay for long ones."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.inputs import Undecodable
from euclidesdb_server.worker.inputs.text import PASS_COST, TextInput
from tests.support.errors import error_message
from tests.worker.odd_programs import load

CPU = torch.device("cpu")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PAD, UNK, CLS, SEP = range(4)
WORDS = ("one", "two", "three", "four", "five")
ONE, TWO, THREE, FOUR, FIVE = range(4, 9)


def numbered(*tokens):
    return {token: number for number, token in enumerate(tokens)}


def word_tokenizer(vocabulary=None, *, wrapped=True, unknown="[UNK]"):
    """A word is a token; BERT's special tokens around each text, if `wrapped`."""
    vocabulary = vocabulary or numbered(*SPECIAL, *WORDS)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if wrapped:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
        )
    return tokenizer


@pytest.fixture
def text_input(tmp_path):
    def make(tokenizer=None, *, max_tokens=16, allow_blank=False):
        file = tmp_path / "tokenizer.json"
        (tokenizer or word_tokenizer()).save(str(file))
        return TextInput(
            {"tokenizer": str(file), "max_tokens": max_tokens, "allow_blank": allow_blank}
        )

    return make


def tokens(inputs, text):
    return inputs.decode(text.encode()).tolist()


def test_a_text_becomes_its_tokens_between_the_special_ones(text_input):
    assert tokens(text_input(), "two one strange") == [CLS, TWO, ONE, UNK, SEP]


def test_a_word_may_be_of_several_pieces(text_input):
    vocabulary = numbered(*SPECIAL, "em", "##bed", "##ding")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert tokens(text_input(tokenizer), "embedding embedded") == [4, 5, 6, UNK]


def test_tokens_are_int64(text_input):
    assert text_input().decode(b"one").dtype == torch.int64


def test_a_long_text_is_cut_at_max_tokens_and_keeps_its_end_token(text_input):
    inputs = text_input(max_tokens=4)
    assert tokens(inputs, "one two three four") == [CLS, ONE, TWO, SEP]
    assert tokens(inputs, "one two") == [CLS, ONE, TWO, SEP]


def test_max_tokens_overrides_the_cut_of_the_tokenizer_file(text_input):
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(3)
    assert len(tokens(text_input(tokenizer), "one two three")) == 5


def test_a_text_without_end_is_not_read_to_its_end(text_input):
    inputs = text_input(max_tokens=4)
    assert tokens(inputs, "one " * 10_000_000) == [CLS, ONE, ONE, SEP]


def test_the_padding_of_the_tokenizer_file_is_not_that_of_one_text(text_input):
    tokenizer = word_tokenizer()
    tokenizer.enable_padding(length=9)
    assert tokens(text_input(tokenizer), "one") == [CLS, ONE, SEP]


@pytest.mark.parametrize("max_tokens", [1, 2])
def test_special_tokens_that_leave_no_room_are_a_load_error(text_input, max_tokens):
    with pytest.raises(ModelLoadError, match=f"max_tokens = {max_tokens} leaves no room .* 2 tok"):
        text_input(max_tokens=max_tokens)


def test_bytes_that_are_not_utf_8_are_refused(text_input):
    assert "not UTF-8: 'utf-8' codec can't decode byte 0xff" in error_message(
        Undecodable, text_input().decode, b"one \xff"
    )


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("text", ["", " \n\t", "\u00a0\u3000", " " * 10_000])
def test_an_empty_or_blank_text_is_refused(text_input, text, wrapped):
    inputs = text_input(word_tokenizer(wrapped=wrapped))
    assert (
        error_message(Undecodable, inputs.decode, text.encode())
        == f"the text {text[:40]!r} is empty or blank"
    )


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_text_of_which_the_tokenizer_leaves_nothing_is_refused(text_input, wrapped):
    tokenizer = word_tokenizer(wrapped=wrapped)
    tokenizer.normalizer = normalizers.BertNormalizer()
    message = error_message(Undecodable, text_input(tokenizer).decode, "\u200b\u200b".encode())
    assert message == "the text '\\u200b\\u200b' has no tokens"


def test_a_blank_text_is_its_special_tokens_if_the_model_takes_it(text_input):
    inputs = text_input(allow_blank=True)
    assert [tokens(inputs, text) for text in ("", " \n")] == [[CLS, SEP]] * 2


def test_a_blank_text_without_tokens_is_refused_in_any_case(text_input):
    inputs = text_input(word_tokenizer(wrapped=False), allow_blank=True)
    assert error_message(Undecodable, inputs.decode, b" ") == "the text ' ' has no tokens"


@pytest.mark.parametrize("characters", [4 * 64, 4 * 64 * 4 - 1, 100_000])
@pytest.mark.parametrize("blank", [" ", "\n", "\u200b"], ids=ascii)
def test_a_text_behind_many_blanks_is_read(text_input, characters, blank):
    tokenizer = word_tokenizer()
    tokenizer.normalizer = normalizers.BertNormalizer()
    inputs = text_input(tokenizer, max_tokens=4)
    assert tokens(inputs, blank * characters + "one") == [CLS, ONE, SEP]
    assert tokens(inputs, "two" + blank * characters + " three one") == [CLS, TWO, THREE, SEP]


def test_a_text_with_too_few_tokens_in_a_million_characters_is_refused(text_input):
    message = error_message(
        Undecodable, text_input(max_tokens=4).decode, b"one" + b" " * 3_000_000 + b"two"
    )
    assert message.startswith("the text 'one    ")
    assert message.endswith("has only 3 tokens in its first 1048576 characters of 3000006")


@settings(deadline=None, derandomize=True, database=None)
@given(st.text("ab \u00e4", max_size=600), st.integers(3, 9))
def test_the_tokens_kept_are_those_of_the_whole_text(tmp_path_factory, text, max_tokens):
    vocabulary = numbered(*SPECIAL, "a", "b", "ab", "##a", "##b", "##aba", "##bb", "aaab")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    file = tmp_path_factory.mktemp("whole") / "tokenizer.json"
    tokenizer.save(str(file))
    inputs = TextInput({"tokenizer": str(file), "max_tokens": max_tokens, "allow_blank": True})
    inputs._first_characters = max_tokens  # so that most texts are read in parts
    tokenizer.enable_truncation(max_tokens)
    assert inputs._tokens(text) == tokenizer.encode(text).ids


def test_a_word_that_the_vocabulary_cannot_spell_is_refused(text_input):
    inputs = text_input(word_tokenizer(numbered(*WORDS), wrapped=False, unknown="[UNK]"))
    message = error_message(Undecodable, inputs.decode, b"one strange")
    assert message.startswith("the text 'one strange' has no tokens: ")


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelLoadError, match=r"tokenizer .*absent\.json: .*No such file"):
        TextInput({"tokenizer": str(tmp_path / "absent.json"), "max_tokens": 8})


def test_a_tokenizer_that_is_garbage_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"version": 7}')
    with pytest.raises(ModelLoadError, match=r"tokenizer .*tokenizer\.json: "):
        TextInput({"tokenizer": str(tmp_path / "tokenizer.json"), "max_tokens": 8})


def test_texts_are_padded_at_the_end_and_the_mask_marks_it(text_input):
    inputs = text_input()
    texts = [inputs.decode(text) for text in (b"one two three", b"four")]
    input_ids, attention_mask = inputs.collate(texts, CPU)
    assert input_ids.tolist() == [[CLS, ONE, TWO, THREE, SEP], [CLS, FOUR, SEP, PAD, PAD]]
    assert attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert (input_ids.dtype, attention_mask.dtype) == (torch.int64, torch.int64)


def test_the_mask_hides_no_token_that_only_looks_like_padding(text_input):
    inputs = text_input(word_tokenizer(numbered("[PAD]", "[UNK]", "one"), wrapped=False))
    _, attention_mask = inputs.collate([torch.tensor([PAD, 2]), torch.tensor([2])], CPU)
    assert attention_mask.tolist() == [[1, 1], [1, 0]]


def padding_number(inputs):
    return int(inputs.collate([torch.tensor([5, 5]), torch.tensor([5])], CPU)[0][1, 1])


def test_the_padding_token_is_that_of_the_tokenizer_file(text_input):
    tokenizer = word_tokenizer()
    tokenizer.enable_padding(pad_id=FIVE, pad_token="five")
    assert padding_number(text_input(tokenizer)) == FIVE


def test_padding_is_at_the_end_even_if_the_tokenizer_pads_on_the_left(text_input):
    tokenizer = word_tokenizer()
    tokenizer.enable_padding(direction="left")
    inputs = text_input(tokenizer)
    _, attention_mask = inputs.collate([torch.tensor([5, 5]), torch.tensor([5])], CPU)
    assert attention_mask.tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("token", ["[PAD]", "<pad>", "<|endoftext|>"])
def test_the_padding_token_is_known_by_its_name(text_input, token):
    vocabulary = numbered("[UNK]", "one", token)
    assert padding_number(text_input(word_tokenizer(vocabulary, wrapped=False))) == 2


def test_padding_without_a_token_for_it_is_0(text_input):
    vocabulary = numbered("[UNK]", "one")
    assert padding_number(text_input(word_tokenizer(vocabulary, wrapped=False))) == 0


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """The lengths of the texts in each group, by the lengths of all."""
    file = tmp_path_factory.mktemp("grouped") / "tokenizer.json"
    word_tokenizer().save(str(file))
    inputs = TextInput({"tokenizer": str(file), "max_tokens": 1024})

    def group(lengths):
        groups = inputs.groups([torch.zeros(length) for length in lengths])
        assert sorted(itertools.chain(*groups)) == [*range(len(lengths))]
        return [[lengths[position] for position in group] for group in groups]

    return group


def cost(groups):
    return sum(len(group) * max(group) + PASS_COST for group in groups)


def cuts(lengths):
    """Every way to cut the sorted lengths into groups."""
    lengths = sorted(lengths)
    for size in range(len(lengths)):
        for places in itertools.combinations(range(1, len(lengths)), size):
            yield [lengths[begin:stop] for begin, stop in
                   itertools.pairwise((0, *places, len(lengths)))]  # fmt: skip


def test_texts_of_like_length_share_a_forward_pass(grouped):
    assert grouped([10, 11, 12, 10]) == [[10, 10, 11, 12]]


def test_short_texts_do_not_pay_for_a_long_one(grouped):
    assert sorted(grouped([5, 500, 6, 7, 480])) == [[5, 6, 7], [480, 500]]


def test_an_empty_batch_has_no_groups(grouped):
    assert grouped([]) == []


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_no_cut_is_cheaper(grouped, lengths):
    assert cost(grouped(lengths)) == min(cost(groups) for groups in cuts(lengths))


class MaskedMean(torch.nn.Module):
    """Right: the mean of the embeddings of the tokens that the mask shows."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(SPECIAL) + len(WORDS), 6)
        generator = torch.Generator().manual_seed(0)
        self.embedding.weight.data.normal_(generator=generator)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        shown = attention_mask.unsqueeze(2).to(torch.float32)
        return (self.embedding(input_ids) * shown).sum(dim=1) / shown.sum(dim=1)


class MeanOfThePadding(MaskedMean):
    """Wrong: the padding is in the mean."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.embedding(input_ids).mean(dim=1) + 0.0 * attention_mask.sum()


def load_text_program(tmp_path, module, **conf):
    file = tmp_path / "tokenizer.json"
    word_tokenizer().save(str(file))
    return load(
        tmp_path, module, input="text", tokenizer=file, feature_dim=6, prediction_dim=0, **conf
    )


def test_a_text_gives_the_same_alone_and_in_any_batch(tmp_path):
    program = load_text_program(tmp_path, MaskedMean(), max_tokens=400)
    lengths = (3, 350, 7, 1, 200, 2, 4, 340)
    texts = [program.inputs.decode(" ".join((WORDS * 80)[-n:]).encode()) for n in lengths]
    assert len(program.inputs.groups(texts)) > 1
    alone = torch.cat([program.run([text]).features for text in texts])
    torch.testing.assert_close(program.run(texts).features, alone)


def test_a_program_that_looks_at_the_padding_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="change when another shares its batch"):
        load_text_program(tmp_path, MeanOfThePadding())
