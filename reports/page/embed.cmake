# Turns assets.html into a C++ source, so that the program needs no file beside it:
#   cmake -D INPUT=assets.html -D OUTPUT=page_assets.cpp -P embed.cmake
file(READ ${INPUT} text)
string(FIND "${text}" ")ASSETS\"" end_in_text)
if(NOT end_in_text EQUAL -1)
  message(FATAL_ERROR "${INPUT} contains the end of the literal it is to stand in")
endif()
file(WRITE ${OUTPUT} "// Made from reports/page/assets.html by embed.cmake.
#include \"reports/page/assets.h\"

namespace sluice::reports {

const std::string_view kPageAssets = R\"ASSETS(${text})ASSETS\";

}  // namespace sluice::reports
")
