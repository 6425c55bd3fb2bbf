#include "harness/scenario/http_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "harness/base/letters.h"
#include "harness/base/limits.h"

namespace sluice {
namespace {

// The blanks in the expression of a hole are not those of what it makes.
std::string without_holes(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto open = text.find("${");
    out += text.substr(0, open);
    if (open == std::string_view::npos) break;
    const auto end = end_of_hole(text.substr(open));
    text = end ? text.substr(open + *end + 1) : std::string_view();
  }
  return out;
}

/// Between the parts of a form; none of the files may have it inside.
std::string boundary_for(const std::vector<HttpPart>& parts) {
  std::string boundary;
  const auto taken = [&](const HttpPart& part) { return part.value.text().find(boundary) != std::string::npos; };
  int number = 0;
  do {
    boundary = fmt::format("sluice-form-7f3a9c5e1d{:04}", number++);
  } while (std::any_of(parts.begin(), parts.end(), taken));
  return boundary;
}

std::string_view type_of(std::string_view file) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kTypes{{{".json", "application/json"},
                                                                                 {".txt", "text/plain"},
                                                                                 {".csv", "text/csv"},
                                                                                 {".png", "image/png"},
                                                                                 {".jpg", "image/jpeg"},
                                                                                 {".jpeg", "image/jpeg"},
                                                                                 {".pdf", "application/pdf"},
                                                                                 {".wav", "audio/wav"},
                                                                                 {".mp3", "audio/mpeg"}}};
  for (const auto& [ending, type] : kTypes) {
    if (file.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

bool is_method(std::string_view text) {
  return !text.empty() && text.size() <= 20 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '-' || c == '_'; });
}

}  // namespace

std::string ScenarioFiles::path_of(const std::string& name) const {
  return (std::filesystem::path(folder) / name).string();
}

Template HttpReader::read_url(const YamlMember& member, bool websocket) {
  auto url = scalars_.pattern(member.value, member.key);
  if (!url) return {};
  const auto text = url->text();
  const auto starts = [&](std::string_view scheme) { return text.starts_with(scheme); };
  const bool absolute = websocket ? starts("ws://") || starts("wss://") : starts("http://") || starts("https://");
  if (!starts("/") && !absolute && !starts("${")) {
    problems_.add(member.value.place, fmt::format("{}: a path that starts with '/' is wanted, or a whole URL{}",
                                                  member.key, websocket ? " (ws:// or wss://)" : ""));
  }
  if (without_holes(text).find_first_of(" \t\r\n") != std::string::npos) {
    problems_.add(member.value.place, fmt::format("{}: a URL has no blanks: write %20", member.key));
  }
  return std::move(*url);
}

/// The text with its secrets as they are written, once it has been read.
std::string HttpReader::shown(const YamlMember& member, const Template& read) {
  if (read.empty()) return {};
  const auto filled = scalars_.filled(member.value, member.key);
  return filled ? filled->shown : std::string();
}

bool HttpReader::read_address(Section& section, const YamlMember& member, HttpStep& http) {
  const YamlMember* address = nullptr;
  for (const std::string_view method : {"get", "post", "put", "patch", "delete", "head"}) {
    const auto* here = section.take(method);
    if (here && address)
      problems_.add(here->place, fmt::format("http: has {} and {}: one request a step", address->key, method));
    if (!here || address) continue;
    address = here;
    http.method.clear();
    for (const char c : method) http.method += static_cast<char>(c - 'a' + 'A');
  }
  const auto *method = section.take("method"), *url = section.take("url");
  if (address) {
    for (const auto* extra : {method, url}) {
      if (extra)
        problems_.add(
            extra->place,
            fmt::format("{}: belongs to http with method: and url:, and here is {}:", extra->key, address->key));
    }
  } else if (method && url) {
    address = url;
    http.method = scalars_.text(method).value_or("GET");
    if (!is_method(http.method))
      problems_.add(method->value.place, "method: capital letters are wanted, as in OPTIONS");
  } else if (method || url) {
    problems_.add((method ? method : url)->place,
                  "http: method: and url: stand together, as in {method: OPTIONS, url: /path}");
    return false;
  } else {
    problems_.add(member.place, "http: needs one of get, post, put, patch, delete and head, or method and url");
    return false;
  }
  http.url = read_url(*address, false);
  http.shown_url = shown(*address, http.url);
  return true;
}

HttpReader::Pairs HttpReader::read_pairs(const YamlMember* member) {
  Pairs pairs;
  if (!member) return pairs;
  if (!member->value.is_mapping()) {
    problems_.add(member->value.place, fmt::format("{}: must be a mapping of names to values", member->key));
    return pairs;
  }
  for (const auto& entry : member->value.members) {
    const auto add = [&](const YamlNode& node) {
      if (auto value = scalars_.pattern(node, entry.key)) pairs.emplace_back(entry.key, std::move(*value));
    };
    if (entry.value.is_sequence()) {
      for (const auto& item : entry.value.items) add(item);  // the name again for each
    } else {
      add(entry.value);
    }
  }
  return pairs;
}

std::optional<std::string> HttpReader::read_file(const YamlMember* member, std::size_t bytes_max) {
  const auto name = scalars_.text(member);
  if (!name) return std::nullopt;
  if (name->empty()) {
    problems_.add(member->value.place, fmt::format("{}: names no file", member->key));
    return std::nullopt;
  }
  const auto path = files_.path_of(*name);
  auto bytes = files_.read(path, bytes_max);
  if (!bytes) {
    problems_.add(member->value.place, fmt::format("{}: {}: {}", member->key, path, bytes.error().message));
    return std::nullopt;
  }
  return std::move(*bytes);
}

void HttpReader::read_multipart(const YamlMember& member, HttpStep& http) {
  if (!member.value.is_mapping() || member.value.members.empty()) {
    return problems_.add(member.value.place, "multipart: must be a mapping of names to texts or {file: ...}");
  }
  for (const auto& entry : member.value.members) {
    HttpPart part;
    part.name = entry.key;
    if (!entry.value.is_mapping()) {
      if (auto value = scalars_.pattern(entry.value, entry.key)) part.value = std::move(*value);
      http.parts.push_back(std::move(part));
      continue;
    }
    Section section(entry.value, "part", fmt::format("part '{}'", entry.key), problems_);
    const auto* file = section.take("file");
    const auto name = scalars_.text(file).value_or("");
    part.filename = scalars_.text(section.take("filename")).value_or(std::filesystem::path(name).filename().string());
    part.type = scalars_.text(section.take("type")).value_or(std::string(type_of(name)));
    if (part.type.find_first_of("\r\n") != std::string::npos)
      problems_.add(entry.place, "type: a header has no line breaks");
    if (const auto bytes = read_file(file, limits::body_file_bytes_max)) part.value = Template(*bytes);
    http.parts.push_back(std::move(part));
  }
  http.boundary = boundary_for(http.parts);
}

void HttpReader::read_options(Section& section, HttpStep& http) {
  http.query = read_pairs(section.take("query"));
  const auto *json = section.take("json"), *body = section.take("body"), *form = section.take("form");
  const auto *multipart = section.take("multipart"), *file = section.take("file");
  const YamlMember* given = nullptr;
  for (const auto* one : {json, body, form, multipart, file}) {
    if (one && given)
      problems_.add(one->place, fmt::format("http: has {} and {}: one of them is wanted", given->key, one->key));
    if (!given) given = one;
  }
  if (given && (http.method == "GET" || http.method == "HEAD"))
    problems_.add(given->place, fmt::format("{}: {} sends no body", given->key, http.method));
  std::string type;
  if (json) {
    scalars_.json(json->value, "json", 0, http.body);
    type = "application/json";
  } else if (body) {
    http.body = scalars_.pattern(body->value, "body").value_or(Template());
    type = "text/plain; charset=utf-8";
  } else if (form) {
    http.form = read_pairs(form);
    type = "application/x-www-form-urlencoded";
  } else if (multipart) {
    read_multipart(*multipart, http);
    type = "multipart/form-data; boundary=" + http.boundary;
  } else if (file) {
    if (const auto bytes = read_file(file, limits::body_file_bytes_max)) http.body = Template(*bytes);
    type = type_of(scalars_.text(file).value_or(""));
  }
  const bool typed = std::any_of(http.headers.begin(), http.headers.end(),
                                 [](const auto& header) { return same_letters(header.first, "content-type"); });
  if (!typed) http.content_type = type;
  if (typed && multipart) {
    problems_.add(multipart->place,
                  "multipart: writes Content-Type itself, with the boundary: take it out of headers:");
  }
  if (const auto redirects = scalars_.whole(section.take("redirects"), 0, limits::redirects_max))
    http.redirects = static_cast<std::uint32_t>(*redirects);
  http.compression = scalars_.truth(section.take("compression"));
  if (const auto* compress = section.take("compress")) {
    http.compress = scalars_.word(compress, "http").has_value();
    if (!given) problems_.add(compress->place, "compress: there is no body to be compressed");
  }
}

WebSocketStep HttpReader::read_websocket(const YamlMember& member) {
  WebSocketStep step;
  Section section(member.value, "websocket", "websocket", problems_);
  if (!section.is_mapping()) return step;
  if (const auto* url = section.take("url")) {
    step.url = read_url(*url, true);
    step.shown_url = shown(*url, step.url);
  }
  if (const auto* headers = section.take("headers")) step.headers = read_headers(*headers, scalars_, problems_);
  if (const auto* send = section.take("send")) {
    const auto add = [&](const YamlNode& node) {
      if (auto text = scalars_.pattern(node, "send")) step.texts.push_back(std::move(*text));
    };
    if (send->value.is_sequence()) {
      for (const auto& item : send->value.items) add(item);
    } else {
      add(send->value);
    }
    if (step.texts.size() > limits::ws_texts_max)
      problems_.add(send->value.place, fmt::format("send: more than {} texts", limits::ws_texts_max));
  }
  const auto *receive = section.take("receive"), *until = section.take("until");
  if (receive && until) problems_.add(until->place, "websocket: has receive and until: one of them is wanted");
  if (until) {
    step.until = scalars_.text(until).value_or("");
    if (step.until.empty()) problems_.add(until->value.place, "until: a text is wanted that a message contains");
  }
  step.receive = scalars_.whole(receive, 0, limits::ws_messages_max).value_or(until ? 0 : 1);
  step.ping = scalars_.truth(section.take("ping")).value_or(false);
  return step;
}

std::string HttpReader::read_path(const YamlMember* member) {
  if (!read_file(member, limits::scenario_bytes_max)) return {};  // that it can be read is all that is asked here
  return files_.path_of(scalars_.text(member).value_or(""));
}

TlsSettings HttpReader::read_tls(const YamlMember& member) {
  TlsSettings tls;
  Section section(member.value, "tls", "tls", problems_);
  if (!section.is_mapping()) return tls;
  tls.verify = scalars_.truth(section.take("verify"));
  const auto *ca = section.take("ca"), *certificate = section.take("cert"), *key = section.take("key");
  tls.ca = read_path(ca);
  tls.certificate = read_path(certificate);
  tls.key = read_path(key);
  if ((certificate != nullptr) != (key != nullptr)) {
    problems_.add((certificate ? certificate : key)->place, "tls: cert: and key: stand together");
  }
  tls.server_name = scalars_.text(section.take("server_name")).value_or("");
  tls.only_tls1_3 = scalars_.word(section.take("min_version"), "tls") == "tls1.3";
  return tls;
}

NetworkSettings HttpReader::read_network(const YamlMember& member) {
  NetworkSettings network;
  Section section(member.value, "network", "network", problems_);
  if (!section.is_mapping()) return network;
  constexpr std::uint64_t kFastest = 100'000'000;  // 100 Gbit/s
  network.download_kbps = scalars_.whole(section.take("download_kbps"), 1, kFastest).value_or(0);
  network.upload_kbps = scalars_.whole(section.take("upload_kbps"), 1, kFastest).value_or(0);
  const auto* latency = section.take("latency");
  network.latency = scalars_.duration(latency).value_or(Nanoseconds{});
  if (network.latency > std::chrono::seconds(60)) problems_.add(latency->value.place, "latency: at most 60s, one way");
  return network;
}

std::optional<bool> HttpReader::read_version(const YamlMember* member, std::string_view table) {
  const auto word = scalars_.word(member, table);
  if (!word) return std::nullopt;
  return *word == "h2";
}

std::optional<CookieKeeping> HttpReader::read_cookies(const YamlMember* member, std::string_view table) {
  const auto word = scalars_.word(member, table);
  if (!word) return std::nullopt;
  return *word == "keep" ? CookieKeeping::keep : *word == "off" ? CookieKeeping::off : CookieKeeping::reset;
}

}  // namespace sluice
