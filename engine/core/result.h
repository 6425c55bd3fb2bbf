// Expected failures of the engine: a sentence for a person, carried as a value.
#pragma once

#include <boost/system/result.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace sluice::engine {

/// What went wrong, naming the value, the place and the way out. Made by fail().
struct Error {
  Error() = default;  // not to be made from a string: a Result<std::string> could not tell its value from its error
  std::string message;
};

/// Called by boost::system::result when .value() is asked of an error: that is a bug of the caller, so it throws.
[[noreturn]] inline void throw_exception_from_error(const Error& error, const boost::source_location&) {
  throw std::logic_error("unchecked error: " + error.message);
}

template <class T>
using Result = boost::system::result<T, Error>;

inline Error fail(std::string message) {
  Error error;
  error.message = std::move(message);
  return error;
}

}  // namespace sluice::engine
