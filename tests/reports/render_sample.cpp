// Writes the sample's reports into a folder, to be looked at:  render_sample DIR
#include <filesystem>
#include <fstream>
#include <iostream>

#include "reports/html.h"
#include "reports/json.h"
#include "reports/junit.h"
#include "reports/text.h"
#include "tests/reports/sample_summary.h"

int main(int argc, char** argv) {
  using namespace sluice::reports;
  if (argc != 2) {
    std::cerr << "usage: render_sample DIR\n";
    return 2;
  }
  const std::filesystem::path dir = argv[1];
  std::filesystem::create_directories(dir);
  const Summary sample = sample_summary(), small = small_summary();
  std::ofstream(dir / "report.html") << to_html(sample);
  std::ofstream(dir / "small.html") << to_html(small);
  std::ofstream(dir / "gpu.html") << to_html(gpu_summary());
  std::ofstream(dir / "summary.json") << to_json(sample);
  std::ofstream(dir / "junit.xml") << to_junit(sample);
  std::ofstream(dir / "summary.txt") << to_text(sample, {.color = true, .width = 140});
  return 0;
}
