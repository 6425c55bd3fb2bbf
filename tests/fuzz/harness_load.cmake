# Its source alone: clang 14 cannot compile Beast's servers with the sanitizers of this build.
sluice_fuzzer(status_change SOURCES status_change_fuzz.cpp ${CMAKE_SOURCE_DIR}/harness/load/status_change.cpp
  LIBRARIES sluice_base simdjson::simdjson fmt::fmt)
