// Memory that outlives a call.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

// Memory for one call, kept for the next one: fresh pages would cost more than the arithmetic. As many are kept as calls
// have ever run at once.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    std::lock_guard<std::mutex> lock(Mutex());
    if (!Kept().empty()) {
      held_ = Kept().back();
      Kept().pop_back();
    }
    if (held_.floats >= floats) return;
    std::free(held_.data);
    held_.data = static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64));
    held_.floats = held_.data ? floats : 0;
    if (!held_.data) throw std::bad_alloc();
  }
  ~Scratch() {
    std::lock_guard<std::mutex> lock(Mutex());
    Kept().push_back(held_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The next part of it, which begins at a multiple of 64 bytes.
  float* Take(int64_t floats) {
    float* part = held_.data + taken_;
    taken_ += (floats + 15) / 16 * 16;
    return part;
  }

 private:
  struct Held {
    float* data = nullptr;
    int64_t floats = 0;
  };
  static std::mutex& Mutex() {
    static std::mutex mutex;
    return mutex;
  }
  static std::vector<Held>& Kept() {
    static auto* kept = new std::vector<Held>;
    return *kept;
  }
  Held held_;
  int64_t taken_ = 0;
};
