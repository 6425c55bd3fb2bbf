// Which connection has something due when: one order and one timer for all replays. Private to serve/.
//
// Belongs to the thread of the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

namespace sluice::engine {

class Connection;

class Playout {
 public:
  explicit Playout(boost::asio::io_context& io) : timer_(io) {}

  /// The connection's play() is called then, and again as it says; one that has gone is forgotten when its time comes.
  void add(std::chrono::steady_clock::time_point due, std::weak_ptr<Connection> connection);

 private:
  struct Due {
    std::chrono::steady_clock::time_point at;
    std::uint64_t order;  // those of one instant in the order in which they were added
    std::weak_ptr<Connection> connection;
    bool operator>(const Due& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  void arm();
  void fire();

  boost::asio::steady_timer timer_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::chrono::steady_clock::time_point armed_ = std::chrono::steady_clock::time_point::max();
  std::uint64_t order_ = 0;
};

}  // namespace sluice::engine
