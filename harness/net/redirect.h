// Where a redirect leads, and the request that goes there. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "harness/base/result.h"
#include "harness/net/endpoint.h"

namespace sluice {

/// 301, 302, 303, 307 and 308.
constexpr bool is_redirect(unsigned status) {
  return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

/// What stands in the request line.
std::string_view method_of(std::string_view request);
std::string_view target_of(std::string_view request);

/// A Location header, as it stands or relative to what was asked for; its fragment is left out.
Result<RequestUrl> locate(const Endpoint& server, std::string_view target, std::string_view location);

/// The request to send there in place of `request`; replaces `out`, which must be another string. After 301, 302 and
/// 303 it is a GET without a body (HEAD stays). On its way to `other_server` it loses what authorises at the first one:
/// Authorization, cookies, keys, and every header named in `private_headers`.
void redirected_request(std::string_view request, unsigned status, const RequestUrl& to, bool other_server,
                        std::span<const std::string> private_headers, std::string& out);

}  // namespace sluice
