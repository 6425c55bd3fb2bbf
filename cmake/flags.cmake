# Flags live on one interface target that every target of ours links; warnings become errors only in presets,
# so that a newer compiler of somebody else still builds us.
option(SLUICE_WERROR "Treat warnings as errors" OFF)
set(SLUICE_SANITIZE "" CACHE STRING "Sanitizers for everything of ours, as -fsanitize= takes them (address,undefined or thread)")

add_library(sluice_flags INTERFACE)
target_include_directories(sluice_flags INTERFACE ${CMAKE_SOURCE_DIR})
set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align -Wformat=2 -Wimplicit-fallthrough
  $<$<BOOL:${SLUICE_WERROR}>:-Werror>)
target_compile_options(sluice_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
# -ffp-contract=off: whether a*b+c is one rounding or two must not depend on the optimiser's mood; kernels say fma where they mean it.
target_compile_options(sluice_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
# The same for the GPU: kernels that must agree in every bit would be contracted differently.
target_compile_options(sluice_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SLUICE_WERROR}>>:-Werror=all-warnings>)

if(SLUICE_SANITIZE)
  # gcc 12 sees uninitialised values in instrumented std::optional and std::regex where there are none.
  target_compile_options(sluice_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_compile_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
  if(SLUICE_SANITIZE MATCHES "thread")
    target_compile_options(sluice_flags INTERFACE -Wno-tsan)  # Asio's fences trip this warning of gcc's
  endif()
endif()

if(SLUICE_FUZZ)  # coverage for libFuzzer in every object; only the fuzz targets themselves get its main
  target_compile_options(sluice_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# sluice_library(name SOURCES a.cpp ... LIBRARIES x y ...): a static library of ours.
function(sluice_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC sluice_flags ${arg_LIBRARIES})
endfunction()

# Tests of what reads foreign bytes; `sluicew test` builds and runs these under ASan and UBSan as well.
set(SLUICE_SANITIZED_TESTS "tests/(reports|engine/(text|model|sched|serve)|harness/(base|scenario|stream|content|net))$")
add_custom_target(sanitized_tests)

# sluice_test(name SOURCES a_test.cpp ... LIBRARIES x y ... [LABELS l ...]): a GoogleTest binary, each TEST one ctest entry.
function(sluice_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE sluice_flags ${arg_LIBRARIES} GTest::gmock GTest::gtest GTest::gtest_main)
  # The tests themselves need no speed: a quarter less to compile.
  target_compile_options(${name} PRIVATE "$<$<CONFIG:RelWithDebInfo>:-O0>")
  target_compile_definitions(${name} PRIVATE SLUICE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" SLUICE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(CMAKE_CURRENT_SOURCE_DIR MATCHES "${SLUICE_SANITIZED_TESTS}")
    list(APPEND arg_LABELS sanitized)
    add_dependencies(sanitized_tests ${name})
  endif()
  list(JOIN arg_LABELS "\\;" labels)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 LABELS "${labels}")
endfunction()

# What `sluicew test` builds with clang: the fuzzers and what they need. The rest of the server is not for clang 14, which
# cannot compile Asio's coroutines under ASan.
add_custom_target(fuzzers)
set(SLUICE_FUZZ_SECONDS 5 CACHE STRING "How long ctest runs each fuzzer")

# sluice_fuzzer(name SOURCES a_fuzz.cpp LIBRARIES x y ...): a libFuzzer binary named fuzz_<name>, run briefly by ctest;
# seeds lie in tests/fuzz/corpus/<name>/, what it finds stays in the build folder.
function(sluice_fuzzer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(fuzz_${name} ${arg_SOURCES})
  target_link_libraries(fuzz_${name} PRIVATE sluice_flags ${arg_LIBRARIES})
  target_compile_definitions(fuzz_${name} PRIVATE SLUICE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${name})
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/corpus/${name} ${CMAKE_BINARY_DIR}/crashes)
  add_test(NAME fuzz_${name}
    COMMAND fuzz_${name} -max_total_time=${SLUICE_FUZZ_SECONDS} -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
            -artifact_prefix=${CMAKE_BINARY_DIR}/crashes/${name}- ${CMAKE_BINARY_DIR}/corpus/${name}
            ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
endfunction()
