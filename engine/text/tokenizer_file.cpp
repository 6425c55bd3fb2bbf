#include "engine/text/tokenizer_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>

#include "engine/core/json.h"
#include "engine/text/normalize.h"
#include "engine/text/utf8.h"

namespace sluice::engine {
namespace {

constexpr std::int64_t kIdMax = (1 << 20) - 1;  // the largest vocabularies have some 260,000 tokens
constexpr std::size_t kAddedBytesMax = 1024;    // an added token is sought at every place of a text
constexpr std::size_t kStepsMax = 16;
constexpr std::size_t kInsertedBytesMax = 8;  // "\u2581" has 3; a text must not grow without bounds
constexpr std::size_t kGrowthMax = 4;         // of all replacements together
constexpr std::size_t kTemplateTokensMax = 64;
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Reads one file; the first problem ends it, since what follows would be read in its light.
class FileReader {
 public:
  FileReader(JsonObject root, const std::string& name) : root_(root), name_(name) {}

  Result<TokenizerFile> read() {
    byte_level_vocabulary_ = holds_byte_level(member(root_, "pre_tokenizer"), 0);
    const bool done = known_keys(root_, "",
                                 {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                                  "post_processor", "decoder", "model"}) &&
                      read_normalizer(member(root_, "normalizer")) && read_model() && read_added_tokens() &&
                      read_pre_tokenizers() && read_post_processor(member(root_, "post_processor")) && read_decoder();
    if (!done) return fail(fmt::format("{}: {}", name_, problem_));
    return std::move(file_);
  }

 private:
  bool refuse(std::string what) {
    problem_ = std::move(what);
    return false;
  }

  bool known_keys(JsonObject object, std::string_view place, std::initializer_list<std::string_view> known) {
    for (const auto field : object) {
      if (std::find(known.begin(), known.end(), field.key) == known.end()) {
        return refuse(fmt::format("{}{}unknown key '{}'", place, place.empty() ? "" : ": ", field.key.substr(0, 60)));
      }
    }
    return true;
  }

  std::string_view type_of(JsonElement element) {
    if (!element.is_object()) return {};
    const auto type = member(fields(element), "type");
    return type ? as_string(*type).value_or("") : std::string_view();
  }

  bool flag(JsonObject object, std::string_view place, std::string_view key, bool fallback, bool& value) {
    const auto element = member(object, key);
    value = fallback;
    if (!element) return true;
    const auto read = as_bool(*element);
    if (!read) return refuse(fmt::format("{}: {} is {}: must be true or false", place, key, shown(*element)));
    value = *read;
    return true;
  }

  std::optional<TokenId> id_of(std::string_view spelling) const {
    const auto at = file_.ids.find(spelling);
    if (at == file_.ids.end()) return std::nullopt;
    return at->second;
  }

  bool read_normalizer(std::optional<JsonElement> element) {
    if (!element) return true;
    const std::string_view type = type_of(*element);
    if (file_.normalizer.size() == kStepsMax) return refuse(fmt::format("normalizer: more than {} steps", kStepsMax));
    if (type == "NFC") {
      file_.normalizer.push_back({NormalizeStep::Kind::nfc, {}, {}});
      return true;
    }
    if (type == "Prepend") {
      const auto prefix = text_member(fields(*element), "prepend");
      if (!prefix || prefix->size() > kInsertedBytesMax ||
          !known_keys(fields(*element), "normalizer: Prepend", {"type", "prepend"}))
        return refuse(fmt::format("normalizer: Prepend: prepend is not a string of up to {} bytes", kInsertedBytesMax));
      file_.normalizer.push_back({NormalizeStep::Kind::prepend, {}, std::string(*prefix)});
      return true;
    }
    if (type == "Replace") {
      std::string pattern, content;
      if (!read_replace(fields(*element), "normalizer: Replace", pattern, content)) return false;
      if (!grows(content.size(), pattern.size())) return false;
      file_.normalizer.push_back({NormalizeStep::Kind::replace, std::move(pattern), std::move(content)});
      return true;
    }
    if (type == "Sequence") {
      const auto list = member(fields(*element), "normalizers");
      if (!list || !list->is_array()) return refuse("normalizer: Sequence without a list of normalizers");
      for (const JsonElement each : items(*list)) {
        if (!read_normalizer(each)) return false;
      }
      return true;
    }
    return refuse(fmt::format("normalizer {} is not supported; these are: NFC, Prepend, Replace, Sequence",
                              named(type, *element)));
  }

  std::optional<std::string_view> text_member(JsonObject object, std::string_view key) {
    const auto element = member(object, key);
    return element ? as_string(*element) : std::nullopt;
  }

  bool grows(std::size_t inserted, std::size_t removed) {
    growth_ *= std::max<std::size_t>((inserted + removed - 1) / removed, 1);
    if (growth_ <= kGrowthMax) return true;
    return refuse(
        fmt::format("replacements that make a text more than {} times as long are not supported", kGrowthMax));
  }

  /// Replace, of a normalizer or a decoder: {"pattern": {"String": ...}, "content": ...}.
  bool read_replace(JsonObject object, std::string_view place, std::string& pattern, std::string& content) {
    if (!known_keys(object, place, {"type", "pattern", "content"})) return false;
    const auto from = member(object, "pattern");
    const auto text = from && from->is_object() ? text_member(fields(*from), "String") : std::nullopt;
    const auto to = text_member(object, "content");
    if (!text || text->empty() || text->size() > kAddedBytesMax || !to || to->size() > kInsertedBytesMax) {
      return refuse(
          fmt::format("{}: pattern {} is not supported: must be {{\"String\": ...}} with a content of up to {} bytes",
                      place, from ? shown(*from) : "(missing)", kInsertedBytesMax));
    }
    pattern = *text;
    content = *to;
    return true;
  }

  std::string named(std::string_view type, JsonElement element) const {
    return type.empty() ? shown(element) : fmt::format("'{}'", type.substr(0, 60));
  }

  bool read_model() {
    const auto element = member(root_, "model");
    if (!element || !element->is_object()) return refuse("model is not an object");
    const JsonObject model = fields(*element);
    if (const auto type = member(model, "type"); type && as_string(*type) != "BPE") {
      return refuse(fmt::format("model type {} is not supported; these are: BPE", shown(*type)));
    }
    if (!known_keys(model, "model",
                    {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                     "byte_fallback", "ignore_merges", "vocab", "merges"})) {
      return false;
    }
    if (const auto dropout = member(model, "dropout"); dropout && as_number(*dropout) != 0.0) {
      return refuse(
          fmt::format("model: dropout {} is not supported: the same text must give the same tokens", shown(*dropout)));
    }
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (const auto affix = member(model, key); affix && as_string(*affix) != "") {
        return refuse(fmt::format("model: {} {} is not supported", key, shown(*affix)));
      }
    }
    bool byte_fallback = false;
    if (!flag(model, "model", "byte_fallback", false, byte_fallback)) return false;
    if (byte_fallback && byte_level_vocabulary_)
      return refuse("model: byte_fallback of a byte-level vocabulary is not supported: it has every byte already");
    BpeModel parts;
    parts.byte_level = byte_level_vocabulary_;
    parts.byte_fallback = byte_fallback;
    if (!flag(model, "model", "fuse_unk", false, parts.fuse_unknown)) return false;
    if (!flag(model, "model", "ignore_merges", false, parts.ignore_merges)) return false;
    if (const auto unknown = member(model, "unk_token")) {
      const auto spelling = as_string(*unknown);
      if (!spelling) return refuse(fmt::format("model: unk_token is {}: must be a string", shown(*unknown)));
      parts.unknown = *spelling;
    }
    if (!read_vocab(model, parts) || !read_merges(model, parts)) return false;
    auto bpe = Bpe::make(parts);
    if (!bpe) return refuse("model: " + bpe.error().message);
    file_.bpe = std::make_unique<Bpe>(std::move(*bpe));
    return true;
  }

  bool read_vocab(JsonObject model, BpeModel& parts) {
    const auto vocab = member(model, "vocab");
    if (!vocab || !vocab->is_object()) return refuse("model: vocab is not an object");
    std::unordered_set<TokenId> seen;
    for (const auto field : fields(*vocab)) {
      const auto id = as_integer(field.value);
      if (!id || *id < 0 || *id > kIdMax) {
        return refuse(fmt::format("model: vocab: '{}' has id {}: must be a whole number up to {}",
                                  field.key.substr(0, 60), shown(field.value), kIdMax));
      }
      if (!seen.insert(static_cast<TokenId>(*id)).second)
        return refuse(fmt::format("model: vocab: id {} stands twice", *id));
      file_.ids.emplace(field.key, static_cast<TokenId>(*id));
      parts.vocab.emplace_back(field.key, static_cast<TokenId>(*id));
    }
    if (parts.vocab.empty()) return refuse("model: vocab is empty");
    return true;
  }

  bool read_merges(JsonObject model, BpeModel& parts) {
    const auto merges = member(model, "merges");
    if (!merges || !merges->is_array()) return refuse("model: merges is not a list");
    std::size_t index = 0;
    for (const JsonElement merge : items(*merges)) {
      std::optional<std::string_view> left, right;
      if (const auto line = as_string(merge)) {  // "a b", as files were until 2024
        const auto space = line->find(' ');
        if (space != std::string_view::npos && line->find(' ', space + 1) == std::string_view::npos) {
          left = line->substr(0, space);
          right = line->substr(space + 1);
        }
      } else if (merge.is_array() && items(merge).size() == 2) {
        left = as_string(items(merge).at(0).value_unsafe());
        right = as_string(items(merge).at(1).value_unsafe());
      }
      if (!left || !right)
        return refuse(fmt::format("model: merge {} is {}: must be \"a b\" or [\"a\", \"b\"]", index, shown(merge)));
      parts.merges.emplace_back(*left, *right);
      ++index;
    }
    return true;
  }

  bool read_added_tokens() {
    const auto list = member(root_, "added_tokens");
    if (!list) return true;
    if (!list->is_array()) return refuse("added_tokens is not a list");
    std::vector<std::pair<bool, AddedToken>> tokens[2];  // classic, special: the special ones are sought first
    std::unordered_set<TokenId> special;
    const auto model_size = static_cast<TokenId>(file_.ids.size());
    std::unordered_set<TokenId> model_ids;
    for (const auto& [spelling, id] : file_.ids) model_ids.insert(id);
    TokenId highest = -1;
    for (const JsonElement element : items(*list)) {
      if (!element.is_object()) return refuse(fmt::format("added_tokens holds {}: must be objects", shown(element)));
      const JsonObject object = fields(element);
      const auto content = member(object, "content");
      const auto spelling = content ? as_string(*content) : std::nullopt;
      if (!spelling || spelling->empty() || spelling->size() > kAddedBytesMax) {
        return refuse(fmt::format("added_tokens: content is {}: must be a string of 1 to {} bytes",
                                  content ? shown(*content) : "missing", kAddedBytesMax));
      }
      const std::string place = fmt::format("added_tokens: '{}'", spelling->substr(0, 60));
      if (!known_keys(object, place, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}))
        return false;
      const auto number = member(object, "id");
      const auto id = number ? as_integer(*number) : std::nullopt;
      if (!id || *id < 0 || *id > kIdMax) {
        return refuse(fmt::format("{}: id is {}: must be a whole number up to {}", place,
                                  number ? shown(*number) : "missing", kIdMax));
      }
      AddedToken token;
      token.content = *spelling;
      token.id = static_cast<TokenId>(*id);
      bool is_special = false, normalized = false;
      if (!flag(object, place, "special", false, is_special) ||
          !flag(object, place, "single_word", false, token.single_word) ||
          !flag(object, place, "lstrip", false, token.lstrip) || !flag(object, place, "rstrip", false, token.rstrip) ||
          !flag(object, place, "normalized", !is_special, normalized)) {
        return false;
      }
      // tokenizers gives a token its id in the vocabulary or the next free one, whatever the file says. Where the file
      // says something else, the model was trained with one of two vocabularies, and we cannot tell which.
      const TokenId expected = id_of(*spelling).value_or(highest >= model_size ? highest + 1 : model_size);
      if (token.id != expected) {
        return refuse(fmt::format("{}: id {} does not continue the vocabulary: tokenizers would give it {}", place,
                                  token.id, expected));
      }
      if (!id_of(*spelling)) {
        if (model_ids.contains(token.id)) return refuse(fmt::format("{}: id {} stands twice", place, token.id));
        file_.ids.emplace(*spelling, token.id);
      }
      highest = std::max(highest, token.id);
      if (is_special) special.insert(token.id);
      if (normalized) {
        token.content = normalize(file_.normalizer, token.content);
        if (token.content != *spelling) file_.normalized_spellings.insert_or_assign(token.id, token.content);
        if (token.content.empty()) return refuse(fmt::format("{}: nothing of it is left by the normalizer", place));
      }
      tokens[is_special ? 1 : 0].emplace_back(normalized, std::move(token));
    }
    std::vector<AddedToken> raw, after;
    for (auto* group : {&tokens[1], &tokens[0]}) {
      for (auto& [normalized, token] : *group) (normalized ? after : raw).push_back(std::move(token));
    }
    file_.raw_added = AddedTokens(std::move(raw));
    file_.normalized_added = AddedTokens(std::move(after));
    file_.special.assign(special.begin(), special.end());
    return true;
  }

  bool add_step(Result<Pattern> pattern, SplitBehavior behavior, bool invert) {
    if (!pattern) return refuse("pre_tokenizer: " + pattern.error().message);
    if (file_.steps.size() == kStepsMax) return refuse(fmt::format("pre_tokenizer: more than {} steps", kStepsMax));
    SplitStep step{.pattern = std::move(*pattern), .behavior = behavior, .invert = invert, .spaces_become = {}};
    file_.steps.push_back(std::move(step));
    return true;
  }

  /// Whether the words are bytes: it decides how the vocabulary is spelled.
  bool holds_byte_level(std::optional<JsonElement> pre_tokenizer, int depth) {
    constexpr int kDepthMax = 8;
    if (!pre_tokenizer || depth == kDepthMax) return false;
    const std::string_view type = type_of(*pre_tokenizer);
    if (type != "Sequence") return type == "ByteLevel";
    const auto list = member(fields(*pre_tokenizer), "pretokenizers");
    if (!list || !list->is_array()) return false;
    for (const JsonElement each : items(*list))
      if (holds_byte_level(each, depth + 1)) return true;
    return false;
  }

  bool read_pre_tokenizers() {
    const auto element = member(root_, "pre_tokenizer");
    if (!element) return true;  // the whole text is one word
    return read_pre_tokenizer(*element);
  }

  bool read_pre_tokenizer(JsonElement element) {
    const std::string_view type = type_of(element);
    if (type == "Sequence") {
      const auto list = member(fields(element), "pretokenizers");
      if (!list || !list->is_array()) return refuse("pre_tokenizer: Sequence without a list of pretokenizers");
      for (const JsonElement each : items(*list)) {
        if (!read_pre_tokenizer(each)) return false;
      }
      return true;
    }
    if (byte_level_)
      return refuse(fmt::format("pre_tokenizer: {} behind ByteLevel is not supported", named(type, element)));
    if (type == "ByteLevel") return read_byte_level(fields(element));
    if (type == "Metaspace") return read_metaspace(fields(element));
    if (type == "Split") return read_split(fields(element));
    if (type == "Digits") {
      bool individual = false;
      if (!known_keys(fields(element), "pre_tokenizer: Digits", {"type", "individual_digits"})) return false;
      if (!flag(fields(element), "pre_tokenizer: Digits", "individual_digits", false, individual)) return false;
      // Rust's char::is_numeric, which knows two ranges of Unicode 17 beyond Oniguruma's \p{N}.
      return add_step(Pattern::compile("[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]"),
                      individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false);
    }
    if (type == "WhitespaceSplit") return add_step(Pattern::compile("\\s"), SplitBehavior::removed, false);
    return refuse(
        fmt::format("pre_tokenizer {} is not supported; these are: Sequence, Split, ByteLevel, Metaspace, Digits, "
                    "WhitespaceSplit",
                    named(type, element)));
  }

  bool read_byte_level(JsonObject object) {
    constexpr std::string_view kPlace = "pre_tokenizer: ByteLevel";
    bool prefix = false, use_regex = true;
    if (!known_keys(object, kPlace, {"type", "add_prefix_space", "trim_offsets", "use_regex"})) return false;
    if (!flag(object, kPlace, "add_prefix_space", true, prefix) || !flag(object, kPlace, "use_regex", true, use_regex))
      return false;
    byte_level_ = true;
    if (!prefix && !use_regex) return true;
    if (!add_step(Pattern::compile(kGpt2Pattern), SplitBehavior::isolated, false)) return false;
    file_.steps.back().prefix_space = prefix;
    file_.steps.back().cuts = use_regex;
    return true;
  }

  /// What the pre-tokenizer and the decoder of this name say alike.
  bool read_metaspace_parts(JsonObject object, std::string_view place, std::string& replacement,
                            SplitStep::Prepend& prepend) {
    if (!known_keys(object, place, {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}))
      return false;
    const auto character = text_member(object, "replacement");
    if (!character || character->empty() || utf8_part(*character, 0).length != character->size())
      return refuse(fmt::format("{}: replacement is not one character", place));
    replacement = *character;
    bool prefix = true;
    if (!flag(object, place, "add_prefix_space", true, prefix)) return false;
    const auto element = member(object, "prepend_scheme");
    const auto scheme = element ? as_string(*element) : std::optional<std::string_view>("always");
    if (scheme == "always") {
      prepend = SplitStep::Prepend::always;
    } else if (scheme == "first") {
      prepend = SplitStep::Prepend::first;
    } else if (scheme == "never") {
      prepend = SplitStep::Prepend::never;
    } else {
      return refuse(fmt::format("{}: prepend_scheme is {}: must be always, first or never", place, shown(*element)));
    }
    if (!prefix && prepend != SplitStep::Prepend::never)
      return refuse(fmt::format("{}: add_prefix_space is false, and prepend_scheme is not never", place));
    return true;
  }

  bool read_metaspace(JsonObject object) {
    constexpr std::string_view kPlace = "pre_tokenizer: Metaspace";
    if (byte_level_vocabulary_) return refuse("pre_tokenizer: Metaspace beside ByteLevel is not supported");
    if (std::any_of(file_.steps.begin(), file_.steps.end(),
                    [](const SplitStep& step) { return !step.spaces_become.empty(); }))
      return refuse("pre_tokenizer: Metaspace behind Metaspace is not supported");
    std::string replacement;
    SplitStep::Prepend prepend = SplitStep::Prepend::never;
    bool cuts = true;
    if (!read_metaspace_parts(object, kPlace, replacement, prepend) || !flag(object, kPlace, "split", true, cuts))
      return false;
    if (!add_step(Pattern::literal(replacement), SplitBehavior::merged_with_next, false)) return false;
    if (!grows(replacement.size(), 1)) return false;
    file_.steps.back().cuts = cuts;
    file_.steps.back().spaces_become = std::move(replacement);
    file_.steps.back().prepend = prepend;
    return true;
  }

  bool read_split(JsonObject object) {
    constexpr std::string_view kPlace = "pre_tokenizer: Split";
    if (!known_keys(object, kPlace, {"type", "pattern", "behavior", "invert"})) return false;
    bool invert = false;
    if (!flag(object, kPlace, "invert", false, invert)) return false;
    const auto behavior = member(object, "behavior");
    const auto name = behavior ? as_string(*behavior) : std::nullopt;
    constexpr std::pair<std::string_view, SplitBehavior> kBehaviors[] = {
        {"Removed", SplitBehavior::removed},
        {"Isolated", SplitBehavior::isolated},
        {"MergedWithPrevious", SplitBehavior::merged_with_previous},
        {"MergedWithNext", SplitBehavior::merged_with_next},
        {"Contiguous", SplitBehavior::contiguous}};
    const auto* const known = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                           [&](const auto& each) { return name && each.first == *name; });
    if (known == std::end(kBehaviors)) {
      return refuse(fmt::format("{}: behavior {} is not supported", kPlace, behavior ? shown(*behavior) : "(missing)"));
    }
    const auto pattern = member(object, "pattern");
    if (pattern && pattern->is_object() && fields(*pattern).size() == 1) {
      if (const auto text = member(fields(*pattern), "String"); text && as_string(*text)) {
        if (as_string(*text)->empty()) return refuse(fmt::format("{}: the pattern is empty", kPlace));
        return add_step(Pattern::literal(*as_string(*text)), known->second, invert);
      }
      if (const auto text = member(fields(*pattern), "Regex"); text && as_string(*text)) {
        return add_step(Pattern::compile(*as_string(*text)), known->second, invert);
      }
    }
    return refuse(fmt::format("{}: pattern must be {{\"Regex\": ...}} or {{\"String\": ...}}", kPlace));
  }

  bool read_post_processor(std::optional<JsonElement> element) {
    if (!element) return true;
    const std::string_view type = type_of(*element);
    if (type == "ByteLevel") return true;  // trims offsets, which we have none of
    if (type == "Sequence") {
      const auto list = member(fields(*element), "processors");
      if (!list || !list->is_array()) return refuse("post_processor: Sequence without a list of processors");
      for (const JsonElement each : items(*list)) {
        if (!read_post_processor(each)) return false;
      }
      return true;
    }
    if (type == "TemplateProcessing") return read_template(fields(*element));
    return refuse(fmt::format("post_processor {} is not supported; these are: ByteLevel, TemplateProcessing, Sequence",
                              named(type, *element)));
  }

  bool read_template(JsonObject object) {
    constexpr std::string_view kPlace = "post_processor: TemplateProcessing";
    const auto single = member(object, "single");
    const auto specials = member(object, "special_tokens");
    if (!single || !single->is_array()) return refuse(fmt::format("{}: single is not a list", kPlace));
    std::vector<TokenId> before, behind;
    bool text_seen = false;
    for (const JsonElement piece : items(*single)) {
      std::optional<std::string_view> sequence, special;
      if (piece.is_object() && fields(piece).size() == 1) {
        for (const auto field : fields(piece)) {
          const auto id = field.value.is_object() ? member(fields(field.value), "id") : std::nullopt;
          if (field.key == "Sequence" && id) sequence = as_string(*id);
          if (field.key == "SpecialToken" && id) special = as_string(*id);
        }
      }
      if (sequence == "A" && !text_seen) {
        text_seen = true;
      } else if (special) {
        const auto entry = specials && specials->is_object() ? member(fields(*specials), *special) : std::nullopt;
        const auto ids = entry && entry->is_object() ? member(fields(*entry), "ids") : std::nullopt;
        if (!ids || !ids->is_array())
          return refuse(fmt::format("{}: '{}' has no ids in special_tokens", kPlace, special->substr(0, 60)));
        for (const JsonElement each : items(*ids)) {
          const auto id = as_integer(each);
          if (!id || *id < 0 || *id > kIdMax)
            return refuse(fmt::format("{}: id {} is not a token's", kPlace, shown(each)));
          (text_seen ? behind : before).push_back(static_cast<TokenId>(*id));
        }
      } else {
        return refuse(fmt::format("{}: single holds {} where a special token or one sequence 'A' may stand", kPlace,
                                  shown(piece)));
      }
    }
    if (!text_seen) return refuse(fmt::format("{}: single does not hold the sequence 'A'", kPlace));
    file_.prefix.insert(file_.prefix.begin(), before.begin(), before.end());
    file_.suffix.insert(file_.suffix.end(), behind.begin(), behind.end());
    if (file_.prefix.size() + file_.suffix.size() > kTemplateTokensMax) {
      return refuse(fmt::format("{}: more than {} tokens around a text", kPlace, kTemplateTokensMax));
    }
    return true;
  }

  bool read_decoder() {
    constexpr std::string_view kKnown = "ByteLevel, Metaspace, and Sequences of Replace, ByteFallback, Fuse, Strip";
    const auto element = member(root_, "decoder");
    if (!element) return refuse(fmt::format("decoder is missing; these are supported: {}", kKnown));
    const std::string_view type = type_of(*element);
    file_.decoder.byte_level = type == "ByteLevel";
    if (byte_level_vocabulary_ != file_.decoder.byte_level) {
      return refuse(fmt::format("decoder {} is not supported with a pre_tokenizer that is {}ByteLevel",
                                named(type, *element), byte_level_vocabulary_ ? "" : "not "));
    }
    if (byte_level_vocabulary_) return true;
    if (type != "Sequence") return read_decoder_step(*element);
    const auto list = member(fields(*element), "decoders");
    if (!list || !list->is_array()) return refuse("decoder: Sequence without a list of decoders");
    for (const JsonElement each : items(*list))
      if (!read_decoder_step(each)) return false;
    return true;
  }

  /// Each at most once and in the order in which they are written everywhere, so that all but Strip can be done to the
  /// tokens at load.
  bool read_decoder_step(JsonElement element) {
    const std::string_view type = type_of(element);
    constexpr std::array<std::string_view, 4> kOrder{"Replace", "ByteFallback", "Fuse", "Strip"};
    const auto* const place = std::find(kOrder.begin(), kOrder.end(), type == "Metaspace" ? kOrder[0] : type);
    if (place == kOrder.end()) {
      return refuse(fmt::format("decoder {} is not supported; these are: Metaspace, {}", named(type, element),
                                fmt::join(kOrder, ", ")));
    }
    const auto step = static_cast<int>(place - kOrder.begin()) + 1;
    if (step <= decoder_step_)
      return refuse(fmt::format("decoder: {} behind {} is not supported", type,
                                kOrder[static_cast<std::size_t>(decoder_step_ - 1)]));
    const bool fused = decoder_step_ == 3;
    decoder_step_ = step;
    TokenDecoder& decoder = file_.decoder;
    const JsonObject object = fields(element);
    if (type == "Replace") return read_replace(object, "decoder: Replace", decoder.replaced, decoder.replacement);
    if (type == "Metaspace") {
      SplitStep::Prepend prepend = SplitStep::Prepend::never;
      if (!read_metaspace_parts(object, "decoder: Metaspace", decoder.replaced, prepend)) return false;
      decoder.replacement = " ";
      decoder.drop_in_first = prepend != SplitStep::Prepend::never;
      return true;
    }
    if (type == "ByteFallback") decoder.byte_fallback = true;
    if (type != "Strip") return known_keys(object, fmt::format("decoder: {}", type), {"type"});
    if (!known_keys(object, "decoder: Strip", {"type", "content", "start", "stop"})) return false;
    const auto number = [&](std::string_view key) {
      const auto value = member(object, key);
      return value ? as_integer(*value).value_or(-1) : -1;
    };
    const std::int64_t count = number("start");
    if (!fused || text_member(object, "content") != " " || count < 0 || count > 64 || number("stop") != 0)
      return refuse(
          "decoder: Strip is supported behind Fuse only, of up to 64 spaces at the start and none at the end");
    decoder.strip = static_cast<std::uint32_t>(count);
    return true;
  }

  JsonObject root_;
  const std::string& name_;
  std::string problem_;
  bool byte_level_vocabulary_ = false;  // the pre-tokenizer holds ByteLevel somewhere
  bool byte_level_ = false;             // and that step has been read
  std::size_t growth_ = 1;              // what replacements before the words can do to a text
  int decoder_step_ = 0;                // the last that has been read, as the order counts them
  TokenizerFile file_;
};

}  // namespace

Result<TokenizerFile> read_tokenizer_file(std::string_view json, const std::string& name) {
  const auto document = JsonDocument::parse(json, name);
  if (!document) return document.error();
  if (!document->root().is_object()) return fail(fmt::format("{}: not a JSON object", name));
  return FileReader(fields(document->root()), name).read();
}

}  // namespace sluice::engine
