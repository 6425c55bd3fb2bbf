// Who may include whom. A new edge is a design decision: change the table in the same commit, and say what needs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Edges = std::map<std::string, std::set<std::string>>;

// A layer may include itself and what stands beside it here. "engine" is engine/engine.{h,cpp}.
const Edges kAllowed = {
    {"reports", {}},

    {"harness/base", {}},
    {"harness/scenario", {"harness/base"}},
    {"harness/stream", {"harness/base"}},
    {"harness/content", {"harness/base"}},
    // The tally is laid out by the plan's steps and thresholds, and counts findings by the rules' names.
    {"harness/metrics", {"harness/base", "harness/scenario", "harness/stream", "reports"}},
    {"harness/verdict", {"harness/base", "harness/scenario", "harness/metrics", "reports"}},
    {"harness/output", {"harness/base", "harness/metrics", "reports"}},
    // Only who reads an answer sees its bytes: it leaves them in the sink of a recording.
    {"harness/net", {"harness/base", "harness/stream", "harness/metrics", "harness/output"}},
    {"harness/cohost", {"harness/base", "harness/scenario"}},
    {"harness/load",
     {"harness/base", "harness/scenario", "harness/stream", "harness/content", "harness/net", "harness/metrics",
      "harness/verdict", "harness/output", "reports"}},
    {"harness/app",
     {"harness/base", "harness/scenario", "harness/stream", "harness/net", "harness/metrics", "harness/verdict",
      "harness/output", "harness/cohost", "harness/load", "reports"}},
    {"harness", {"harness/app", "harness/base"}},

    {"engine/core", {}},
    {"engine/text", {"engine/core"}},
    {"engine/model", {"engine/core"}},
    {"engine/exec", {"engine/core", "engine/model"}},
    {"engine/exec/cpu", {"engine/core", "engine/model", "engine/exec"}},
    {"engine/exec/cuda", {"engine/core", "engine/model", "engine/exec"}},
    {"engine/exec/scripted", {"engine/core", "engine/model", "engine/exec"}},
    {"engine/sched", {"engine/core", "engine/exec"}},
    {"engine", {"engine/core", "engine/text", "engine/sched", "engine/exec"}},
    {"engine/serve", {"engine/core", "engine/text", "engine"}},
    // main builds the parts and hands them down.
    {"engine/main.cpp",
     {"engine/core", "engine/text", "engine/model", "engine/exec", "engine/exec/cpu", "engine/exec/cuda",
      "engine/exec/scripted", "engine", "engine/serve"}},
};

// Asio and Beast cost seconds a file: only here, and never in a header.
const std::set<std::string> kMayUseAsio = {"harness/net", "harness/load", "harness/output", "harness/cohost",
                                           "engine/serve"};

std::string layer_of(const std::string& path) {
  if (path == "engine/main.cpp") return path;
  const auto folder = fs::path(path).parent_path().string();
  return folder.starts_with("reports/") ? "reports" : folder;
}

struct Include {
  std::string from, to;
  bool ours;
};

std::vector<Include> all_includes() {
  const fs::path root = SLUICE_SOURCE_DIR;
  std::vector<Include> found;
  for (const char* top : {"harness", "engine", "reports"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const auto extension = entry.path().extension();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) {
        if (!line.starts_with("#include ")) continue;
        const char open = line.size() > 9 ? line[9] : ' ';
        const auto end = line.find(open == '"' ? '"' : '>', 10);
        if (end == std::string::npos) continue;
        found.push_back({fs::relative(entry.path(), root).string(), line.substr(10, end - 10), open == '"'});
      }
    }
  }
  return found;
}

TEST(Layers, EveryIncludeIsAllowedByTheTable) {
  std::vector<std::string> wrong;
  for (const auto& [from, to, ours] : all_includes()) {
    if (!ours) continue;
    const auto here = layer_of(from), there = layer_of(to);
    if (here == there) continue;
    const auto row = kAllowed.find(here);
    if (row == kAllowed.end() || !row->second.contains(there)) wrong.push_back(from + " includes " + to);
  }
  EXPECT_THAT(wrong, testing::IsEmpty());
}

TEST(Layers, TheTableHasNoCycle) {
  std::set<std::string> done;
  for (bool progress = true; progress;) {
    progress = false;
    for (const auto& [layer, needs] : kAllowed) {
      const bool ready = std::all_of(needs.begin(), needs.end(), [&](const auto& need) { return done.contains(need); });
      if (ready && done.insert(layer).second) progress = true;
    }
  }
  EXPECT_EQ(done.size(), kAllowed.size());
}

TEST(Layers, AsioAndBeastStayBehindTheFilesThatNeedThem) {
  std::vector<std::string> wrong;
  for (const auto& [from, to, ours] : all_includes()) {
    if (!to.starts_with("boost/asio") && !to.starts_with("boost/beast")) continue;
    if (!kMayUseAsio.contains(layer_of(from))) wrong.push_back(from + " includes " + to);
  }
  EXPECT_THAT(wrong, testing::IsEmpty());
}

TEST(Layers, TheTestFindsTheIncludesThatAreThere) {
  // Guards the reader above: a test over an empty list would pass for ever.
  EXPECT_GT(all_includes().size(), 100u);
}

}  // namespace
