#include "harness/load/http_body.h"

#include <algorithm>
#include <string_view>

#include "harness/net/compression.h"

namespace sluice {
namespace {

using Pairs = std::vector<std::pair<std::string, Template>>;

bool all_static(const Pairs& pairs) {
  return std::all_of(pairs.begin(), pairs.end(), [](const auto& pair) { return pair.second.is_static(); });
}

void append_pairs(const Pairs& pairs, const Scope& scope, std::string_view blank, std::string& out) {
  std::string value;
  bool first = true;
  for (const auto& [name, pattern] : pairs) {
    if (!first) out += '&';
    first = false;
    append_percent_encoded(name, blank, out);
    out += '=';
    value.clear();
    pattern.render(scope, value);
    append_percent_encoded(value, blank, out);
  }
}

/// A parameter of Content-Disposition, as browsers write it.
void append_quoted(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"') {
      out += "%22";
    } else if (c == '\r' || c == '\n') {
      out += c == '\r' ? "%0D" : "%0A";
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_parts(const HttpStep& http, const Scope& scope, std::string& out) {
  for (const HttpPart& part : http.parts) {
    out.append("--").append(http.boundary).append("\r\nContent-Disposition: form-data; name=");
    append_quoted(part.name, out);
    if (!part.filename.empty()) {
      out += "; filename=";
      append_quoted(part.filename, out);
    }
    out += "\r\n";
    if (!part.type.empty()) out.append("Content-Type: ").append(part.type).append("\r\n");
    out += "\r\n";
    part.value.render(scope, out);
    out += "\r\n";
  }
  out.append("--").append(http.boundary).append("--\r\n");
}

}  // namespace

void append_percent_encoded(std::string_view text, std::string_view blank, std::string& out) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else if (c == ' ') {
      out += blank;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 0x0FU];
    }
  }
}

bool has_static_body(const HttpStep& http) {
  return http.body.is_static() && all_static(http.query) && all_static(http.form) &&
         std::all_of(http.parts.begin(), http.parts.end(), [](const HttpPart& part) { return part.value.is_static(); });
}

void append_query(const HttpStep& http, const Scope& scope, std::string& url) {
  if (http.query.empty()) return;
  if (url.find('?') == std::string::npos) {
    url += '?';
  } else if (!url.ends_with('?') && !url.ends_with('&')) {
    url += '&';
  }
  append_pairs(http.query, scope, "%20", url);
}

void render_http_body(const HttpStep& http, const Scope& scope, std::string& out) {
  out.clear();
  if (!http.form.empty()) {
    append_pairs(http.form, scope, "+", out);
  } else if (!http.parts.empty()) {
    append_parts(http, scope, out);
  } else {
    http.body.render(scope, out);
  }
  if (!http.compress) return;
  std::string plain;
  plain.swap(out);
  compress_gzip(plain, out);
}

}  // namespace sluice
