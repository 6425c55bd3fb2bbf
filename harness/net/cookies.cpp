#include "harness/net/cookies.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "harness/base/limits.h"
#include "harness/net/header_text.h"

namespace sluice {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower_letter(c);
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_address(std::string_view host) {
  return host.find(':') != std::string_view::npos ||
         std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
}

/// Is `host` the domain, or one below it?
bool domain_matches(std::string_view host, std::string_view domain) {
  if (host == domain) return true;
  return host.size() > domain.size() && host.ends_with(domain) && host[host.size() - domain.size() - 1] == '.' &&
         !is_address(host);
}

bool path_matches(std::string_view path, std::string_view of_cookie) {
  if (!path.starts_with(of_cookie)) return false;
  return path.size() == of_cookie.size() || of_cookie.ends_with('/') || path[of_cookie.size()] == '/';
}

std::string_view path_of(std::string_view target) { return target.substr(0, target.find('?')); }

/// The folder of what was asked for.
std::string_view default_path(std::string_view target) {
  const std::string_view path = path_of(target);
  const std::size_t slash = path.rfind('/');
  if (path.empty() || path.front() != '/' || slash == 0) return "/";
  return path.substr(0, slash);
}

/// What cannot stand in a Cookie header.
bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

/// Days from 1970-01-01 (H. Hinnant's days_from_civil).
std::int64_t days_from_civil(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const std::int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

/// The number at the start, of `least` to `most` digits with no further one behind.
std::optional<int> leading_number(std::string_view token, std::size_t least, std::size_t most) {
  std::size_t digits = 0;
  while (digits < token.size() && is_digit(token[digits])) ++digits;
  if (digits < least || digits > most) return std::nullopt;
  int number = 0;
  std::from_chars(token.data(), token.data() + digits, number);
  return number;
}

struct ClockTime {
  int hour = 0, minute = 0, second = 0;
};
std::optional<ClockTime> clock_time(std::string_view token) {
  std::array<int, 3> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto number = leading_number(token, 1, 2);
    if (!number) return std::nullopt;
    parts[i] = *number;
    const std::size_t colon = token.find_first_not_of("0123456789");
    if (i == 2) break;
    if (colon == std::string_view::npos || token[colon] != ':') return std::nullopt;
    token.remove_prefix(colon + 1);
  }
  return ClockTime{parts[0], parts[1], parts[2]};
}

std::optional<int> month_number(std::string_view token) {
  static constexpr std::array<std::string_view, 12> kMonths{"jan", "feb", "mar", "apr", "may", "jun",
                                                            "jul", "aug", "sep", "oct", "nov", "dec"};
  if (token.size() < 3) return std::nullopt;
  const std::string start = lower(token.substr(0, 3));
  const auto* const found = std::find(kMonths.begin(), kMonths.end(), start);
  if (found == kMonths.end()) return std::nullopt;
  return static_cast<int>(found - kMonths.begin()) + 1;
}

}  // namespace

// RFC 6265, 5.1.1: tokens in any order, so that all the formats that servers have ever written are read.
std::optional<std::int64_t> parse_cookie_date(std::string_view text) {
  if (text.size() > limits::cookie_bytes_max) return std::nullopt;
  std::optional<ClockTime> time;
  std::optional<int> day, month, year;
  const auto separates = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == 0x09 || (byte >= 0x20 && byte <= 0x2F) || (byte >= 0x3B && byte <= 0x40) ||
           (byte >= 0x5B && byte <= 0x60) || (byte >= 0x7B && byte <= 0x7E);
  };
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && !separates(text[end])) ++end;
    const std::string_view token = text.substr(at, end - at);
    at = end + 1;
    if (token.empty()) continue;
    if (!time && (time = clock_time(token))) continue;
    if (!day && (day = leading_number(token, 1, 2))) continue;
    if (!month && (month = month_number(token))) continue;
    if (!year) year = leading_number(token, 2, 4);
  }
  if (!time || !day || !month || !year) return std::nullopt;
  if (*year >= 70 && *year <= 99) *year += 1900;
  if (*year >= 0 && *year <= 69) *year += 2000;
  if (*day < 1 || *day > 31 || *year < 1601 || time->hour > 23 || time->minute > 59 || time->second > 59) {
    return std::nullopt;
  }
  return days_from_civil(*year, *month, *day) * 86400 + time->hour * 3600 + time->minute * 60 + time->second;
}

std::optional<Cookie> parse_set_cookie(std::string_view text, std::string_view host, std::string_view target,
                                       std::int64_t now_s) {
  if (text.size() > limits::cookie_bytes_max) return std::nullopt;
  std::string_view pair = text.substr(0, text.find(';'));
  std::string_view rest = text.substr(std::min(text.size(), pair.size() + 1));
  const std::size_t equals = pair.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  Cookie cookie;
  cookie.name = trimmed(pair.substr(0, equals));
  cookie.value = trimmed(pair.substr(equals + 1));
  if (cookie.name.empty() || has_control(cookie.name) || has_control(cookie.value)) return std::nullopt;
  cookie.domain = lower(host);
  cookie.path = default_path(target);
  bool has_max_age = false;
  while (!rest.empty()) {
    const std::string_view attribute = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), attribute.size() + 1));
    const std::size_t sign = attribute.find('=');
    const std::string_view name = trimmed(attribute.substr(0, sign));
    const std::string_view value =
        sign == std::string_view::npos ? std::string_view() : trimmed(attribute.substr(sign + 1));
    if (same_header(name, "Domain")) {
      const std::string domain = lower(value.starts_with('.') ? value.substr(1) : value);
      if (domain.empty()) continue;
      const bool own = domain == cookie.domain;
      const bool wide = domain.find('.') == std::string::npos;  // a whole top-level domain
      if (!domain_matches(lower(host), domain) || (wide && !own)) return std::nullopt;
      cookie.host_only = is_address(host);
      cookie.domain = domain;
    } else if (same_header(name, "Path")) {
      cookie.path =
          value.starts_with('/') && !has_control(value) ? std::string(value) : std::string(default_path(target));
    } else if (same_header(name, "Secure")) {
      cookie.secure = true;
    } else if (same_header(name, "Max-Age")) {
      const bool negative = value.starts_with('-');
      std::int64_t seconds = 0;
      const std::string_view digits = negative ? value.substr(1) : value;
      if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit)) continue;
      const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), seconds);
      constexpr std::int64_t kLongest = std::int64_t{400} * 86400;  // as browsers bound it
      if (read.ec != std::errc() || seconds > kLongest) seconds = kLongest;
      cookie.expires = negative || seconds == 0 ? now_s - 1 : now_s + seconds;
      has_max_age = true;
    } else if (same_header(name, "Expires") && !has_max_age) {
      if (const auto date = parse_cookie_date(value)) cookie.expires = *date;
    }
  }
  return cookie;
}

void CookieJar::set(std::string_view text, std::string_view host, std::string_view target, std::int64_t now_s) {
  auto cookie = parse_set_cookie(text, host, target, now_s);
  if (!cookie) return;
  const auto same = [&](const Cookie& other) {
    return other.name == cookie->name && other.domain == cookie->domain && other.path == cookie->path &&
           other.host_only == cookie->host_only;
  };
  const auto found = std::find_if(cookies_.begin(), cookies_.end(), same);
  const bool gone = cookie->expires <= now_s;
  if (found != cookies_.end()) {
    if (gone) {
      cookies_.erase(found);
    } else {
      *found = std::move(*cookie);
    }
    return;
  }
  if (gone) return;
  if (cookies_.size() >= limits::cookies_per_vu_max) cookies_.erase(cookies_.begin());
  cookies_.push_back(std::move(*cookie));
}

void CookieJar::append_for(std::string_view host, bool tls, std::string_view target, std::int64_t now_s,
                           std::string& out) const {
  const std::string asked = lower(host);
  std::string_view path = path_of(target);
  if (path.empty()) path = "/";
  std::vector<const Cookie*> fitting;
  for (const Cookie& cookie : cookies_) {
    const bool fits = (cookie.host_only ? asked == cookie.domain : domain_matches(asked, cookie.domain)) &&
                      path_matches(path, cookie.path) && (tls || !cookie.secure) && cookie.expires > now_s;
    if (fits) fitting.push_back(&cookie);
  }
  std::stable_sort(fitting.begin(), fitting.end(),
                   [](const Cookie* a, const Cookie* b) { return a->path.size() > b->path.size(); });
  bool first = true;
  for (const Cookie* cookie : fitting) {
    if (!first) out += "; ";
    first = false;
    out.append(cookie->name).append("=").append(cookie->value);
  }
}

void add_cookies(std::string_view request, std::string_view cookies, std::string& out) {
  const std::size_t head = std::min(request.find("\r\n\r\n"), request.size());
  const HeaderLine own = find_header(request, "Cookie");
  out.clear();
  if (own.end > 0) {
    out.append(request.substr(0, own.end)).append("; ").append(cookies).append(request.substr(own.end));
  } else {
    out.append(request.substr(0, head)).append("\r\nCookie: ").append(cookies).append(request.substr(head));
  }
}

}  // namespace sluice
