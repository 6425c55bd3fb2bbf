#include "engine/serve/playout.h"

#include <boost/system/error_code.hpp>

#include "engine/serve/connection.h"

namespace sluice::engine {

Playout::Place Playout::add(Clock::time_point due, std::weak_ptr<Connection> connection) {
  const Place place(due, order_++);
  due_.emplace(place, std::move(connection));
  arm();
  return place;
}

void Playout::arm() {
  if (due_.empty() || due_.begin()->first.first >= armed_) return;
  armed_ = due_.begin()->first.first;
  timer_.expires_at(armed_);  // ends the wait for a later one
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) fire();
  });
}

void Playout::fire() {
  armed_ = Clock::time_point::min();  // what is added meanwhile needs no timer of its own
  while (!due_.empty() && due_.begin()->first.first <= Clock::now()) {
    const auto connection = due_.begin()->second.lock();
    due_.erase(due_.begin());
    if (connection) connection->play();
  }
  armed_ = Clock::time_point::max();
  arm();
}

}  // namespace sluice::engine
