// Which connection has something due when: one order and one timer for all replays. Private to serve/.
//
// Belongs to the thread of the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

namespace sluice::engine {

class Connection;

class Playout {
 public:
  /// When it is due; those of one instant in the order in which they were added.
  using Place = std::pair<std::chrono::steady_clock::time_point, std::uint64_t>;

  explicit Playout(boost::asio::io_context& io) : timer_(io) {}

  /// The connection's play() is called once, then.
  Place add(std::chrono::steady_clock::time_point due, std::weak_ptr<Connection> connection);
  /// It is not, unless it has been: one that goes takes its place with it.
  void remove(const Place& place) { due_.erase(place); }

 private:
  void arm();
  void fire();

  boost::asio::steady_timer timer_;
  std::map<Place, std::weak_ptr<Connection>> due_;
  std::chrono::steady_clock::time_point armed_ = std::chrono::steady_clock::time_point::max();
  std::uint64_t order_ = 0;
};

}  // namespace sluice::engine
