// The gradient of a depthwise convolution's kernel, for rows of five taps or seven: oneDNN takes ten times as long.
//
// Sixteen channels side by side in a register. Rows of them, with the zeros around them, are first copied to where a core has
// them at hand; from there on no tap asks whether it is inside the image.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "lanes.h"
#include "scratch.h"

namespace depthwise {

using brainjax::kLanes;
using brainjax::Lanes;
using brainjax::Load;
using brainjax::Store;

constexpr int64_t kCopyFloats = 24 << 10;  // of the rows at hand, unless one row of outputs needs more

struct Axis {
  int64_t in, out, taps, stride, low;  // zeros before the first
  int64_t Reach(int64_t outputs) const { return (outputs - 1) * stride + taps; }
};

struct Problem {
  int64_t batch, channels;
  Axis y, x;

  bool Pays() const { return channels % kLanes == 0 && (x.taps == 5 || x.taps == 7); }
  int64_t KernelSize() const { return y.taps * x.taps * channels; }
  int64_t Width() const { return x.Reach(x.out); }  // of the rows at hand
  // Rows of outputs whose inputs are at hand at a time.
  int64_t Rows() const {
    const int64_t fit = (kCopyFloats / (Width() * kLanes) - y.taps) / y.stride + 1;
    return std::clamp<int64_t>(fit, 1, y.out);
  }
  int64_t CopySize() const { return y.Reach(Rows()) * Width() * kLanes; }
};

// Sixteen channels of `rows` rows of an image, from `first` on, and zeros where there is none.
BRAINJAX_CLONES void Copy(const Problem& p, const float* image, int64_t first, int64_t rows, float* to) {
  const int64_t width = p.Width(), left = std::min(p.x.low, width), right = std::min(p.x.in + p.x.low, width);
  for (int64_t y = first; y < first + rows; ++y) {
    const bool inside = y >= 0 && y < p.y.in;
    const int64_t from = inside ? left : width, until = inside ? right : width;
    const float* at = image + (y * p.x.in + from - p.x.low) * p.channels;
    for (int64_t x = 0; x < from; ++x, to += kLanes) Store(to, Lanes{});
    for (int64_t x = from; x < until; ++x, to += kLanes, at += p.channels) Store(to, Load(at));
    for (int64_t x = until; x < width; ++x, to += kLanes) Store(to, Lanes{});
  }
}

// Adds to sums [taps taps channels] what `rows` rows of the output's gradient and the copy of their inputs give.
template <int kTaps>
BRAINJAX_INLINE void Correlate(const Problem& p, const float* copy, const float* gradient, int64_t rows, float* sums) {
  const int64_t width = p.Width() * kLanes, step = p.x.stride * kLanes, channels = p.channels;
  for (int64_t k = 0; k < p.y.taps; ++k) {
    Lanes found[2][kTaps] = {};  // of even and odd positions: two sums need not wait for one another
    for (int64_t y = 0; y < rows; ++y) {
      const float *at = copy + (y * p.y.stride + k) * width, *slope = gradient + y * p.x.out * channels;
      int64_t x = 0;
      for (; x + 2 <= p.x.out; x += 2, at += 2 * step, slope += 2 * channels) {
        const Lanes even = Load(slope), odd = Load(slope + channels);
        for (int i = 0; i < kTaps; ++i) {
          found[0][i] += even * Load(at + i * kLanes);
          found[1][i] += odd * Load(at + step + i * kLanes);
        }
      }
      if (x == p.x.out) continue;
      for (int i = 0; i < kTaps; ++i) found[0][i] += Load(slope) * Load(at + i * kLanes);
    }
    for (int i = 0; i < kTaps; ++i, sums += channels) Store(sums, Load(sums) + found[0][i] + found[1][i]);
  }
}

BRAINJAX_CLONES void Correlate(const Problem& p, const float* copy, const float* gradient, int64_t rows, float* sums) {
  if (p.x.taps == 5) {
    Correlate<5>(p, copy, gradient, rows, sums);
  } else {
    Correlate<7>(p, copy, gradient, rows, sums);
  }
}

// Images in [batch y x channels], the output's gradient likewise -> kernel [taps taps channels].
inline void KernelGradient(const Problem& p, const float* in, const float* gradient, float* kernel) {
  const int64_t rows = p.Rows(), strips = (p.y.out + rows - 1) / rows, blocks = p.channels / kLanes;
  const int64_t parts = p.batch * strips * blocks, size = p.KernelSize();
  const int threads = omp_get_max_threads();
  Scratch scratch(threads * (p.CopySize() + size));
  float* const copies = scratch.Take(threads * p.CopySize());
  float* const all = scratch.Take(threads * size);
  std::fill(all, all + threads * size, 0.0f);
#pragma omp parallel num_threads(threads)
  {
    const int64_t rank = omp_get_thread_num(), team = omp_get_num_threads();
    float *const copy = copies + rank * p.CopySize(), *const sums = all + rank * size;
    for (int64_t part = parts * rank / team; part < parts * (rank + 1) / team; ++part) {
      const int64_t n = part / blocks / strips, c = part % blocks * kLanes, first = part / blocks % strips * rows;
      const int64_t count = std::min(rows, p.y.out - first);
      Copy(p, in + n * p.y.in * p.x.in * p.channels + c, first * p.y.stride - p.y.low, p.y.Reach(count), copy);
      Correlate(p, copy, gradient + (n * p.y.out + first) * p.x.out * p.channels + c, count, sums + c);
    }
  }
  std::copy(all, all + size, kernel);
  for (int t = 1; t < threads; ++t) {
    for (int64_t i = 0; i < size; ++i) kernel[i] += all[t * size + i];
  }
}

}  // namespace depthwise
