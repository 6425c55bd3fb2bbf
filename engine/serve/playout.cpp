#include "engine/serve/playout.h"

#include <boost/system/error_code.hpp>
#include <utility>

#include "engine/serve/connection.h"

namespace sluice::engine {

void Playout::add(Clock::time_point due, std::weak_ptr<Connection> connection) {
  due_.push({.at = due, .order = order_++, .connection = std::move(connection)});
  arm();
}

void Playout::arm() {
  if (due_.empty() || due_.top().at >= armed_) return;
  armed_ = due_.top().at;
  timer_.expires_at(armed_);  // ends the wait for a later one
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) fire();
  });
}

void Playout::fire() {
  armed_ = Clock::time_point::max();
  while (!due_.empty() && due_.top().at <= Clock::now()) {
    const auto connection = due_.top().connection.lock();
    due_.pop();
    if (!connection) continue;
    if (const auto next = connection->play()) due_.push({.at = *next, .order = order_++, .connection = connection});
  }
  arm();
}

}  // namespace sluice::engine
