// What an http step has beside its address and its text: query, forms, files, redirects; the websocket verb; TLS and
// the network of a target and a scenario. Used by load_plan.cpp and flow_reader.cpp only.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "harness/base/result.h"
#include "harness/scenario/plan.h"
#include "harness/scenario/plan_reader.h"

namespace sluice {

/// Files that a scenario names, relative to its own.
struct ScenarioFiles {
  std::string folder;
  std::function<Result<std::string>(const std::string& path, std::size_t bytes_max)> read;

  std::string path_of(const std::string& name) const;
};

class HttpReader {
 public:
  /// All must outlive it.
  HttpReader(ScalarReader& scalars, ProblemList& problems, const ScenarioFiles& files)
      : scalars_(scalars), problems_(problems), files_(files) {}

  /// The method and the URL. False: there is none, which is a problem.
  bool read_address(Section& section, const YamlMember& member, HttpStep& http);
  /// The body, and all the rest.
  void read_options(Section& section, HttpStep& http);
  Template read_url(const YamlMember& member, bool websocket);
  /// A URL as reports may show it: secrets as they are written.
  std::string shown(const YamlMember& member, const Template& read);
  WebSocketStep read_websocket(const YamlMember& member);

  TlsSettings read_tls(const YamlMember& member);
  NetworkSettings read_network(const YamlMember& member);
  /// Is it HTTP/2? None: it is not said.
  std::optional<bool> read_version(const YamlMember* member, std::string_view table);
  std::optional<CookieKeeping> read_cookies(const YamlMember* member, std::string_view table);

 private:
  using Pairs = std::vector<std::pair<std::string, Template>>;
  Pairs read_pairs(const YamlMember* member);
  void read_multipart(const YamlMember& member, HttpStep& http);
  std::optional<std::string> read_file(const YamlMember* member, std::size_t bytes_max);
  std::string read_path(const YamlMember* member);

  ScalarReader& scalars_;
  ProblemList& problems_;
  const ScenarioFiles& files_;
};

}  // namespace sluice
