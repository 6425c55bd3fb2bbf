// Finds the stop string that ends first in text that comes in pieces, and holds back what may still become one.
// What comes out does not depend on where the text was cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::engine {

class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops);

  struct Step {
    std::string text;      // certainly before any stop string: send it
    bool stopped = false;  // a stop string was found; `text` ends just before it and nothing may follow
  };
  Step push(std::string text);
  /// What was held back, when the end has come without a stop string.
  std::string finish();

 private:
  std::vector<std::string> stops_;  // none is empty
  std::size_t longest_ = 0;
  std::string pending_;  // shorter than the longest stop string
};

}  // namespace sluice::engine
