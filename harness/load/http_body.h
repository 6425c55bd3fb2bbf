// The parts of an http request that are written in some code: query, forms, compressed bodies. Pure.
#pragma once

#include <string>

#include "harness/scenario/plan.h"

namespace sluice {

/// Nothing of it changes between iterations. REQUIRES: asks only of what is behind the address and the headers.
bool has_static_body(const HttpStep& http);

/// The query behind a URL, which may have one already; appends.
void append_query(const HttpStep& http, const Scope& scope, std::string& url);

/// The body, compressed if it is to be; replaces `out`.
void render_http_body(const HttpStep& http, const Scope& scope, std::string& out);

/// All but letters, digits and -._~ as %XX; a blank as `blank`. Appends.
void append_percent_encoded(std::string_view text, std::string_view blank, std::string& out);

}  // namespace sluice
